//! Changes that depend on what is there: `compare_and_set`, `set_if_absent`, `update`, `increment`.
//!
//! Which tier decides, and how it is asked, is in `decide.rs`.

use super::{Cache, SetOptions, Version, plan::Reach};
use crate::error::{Error, ErrorKind, Result};

/// Values that count.
pub trait Countable: Sized {
    /// The number, or `None` where the value is none.
    fn to_number(&self) -> Option<i64>;

    /// The value of a number.
    fn from_number(number: i64) -> Self;
}

impl Countable for i64 {
    fn to_number(&self) -> Option<i64> {
        Some(*self)
    }

    fn from_number(number: i64) -> Self {
        number
    }
}

/// Decimal digits, as text.
impl Countable for bytes::Bytes {
    fn to_number(&self) -> Option<i64> {
        std::str::from_utf8(self).ok()?.parse().ok()
    }

    fn from_number(number: i64) -> Self {
        number.to_string().into()
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// What the tier that decides about `key` has of it (L3 where there is one, else L2, else L1),
    /// and its version. Costs a round trip where that is L3.
    ///
    /// # Errors
    /// [`ErrorKind::Network`] (L3) or [`ErrorKind::Io`] (L2) where that tier does not answer; [`ErrorKind::TooLarge`] for the
    /// key; [`ErrorKind::Closed`].
    pub fn get_versioned(&self, key: impl AsRef<[u8]>) -> Result<(Option<V>, Version)> {
        let key = key.as_ref();
        let sight = self.inner.sight(key, self.inner.reach_of(key, Reach::ALL))?;
        Ok((sight.value, sight.version))
    }

    /// Sets `key` as [`set_with`](Self::set_with) does if what it had when `version` was taken is
    /// still there, as one step for all processes and hosts that share the key. Returns whether it
    /// was set.
    ///
    /// ```
    /// use tierce::{Bytes, Cache, SetOptions};
    ///
    /// let cache = Cache::builder().build()?;
    /// cache.set("a", Bytes::from("1"))?;
    /// let (value, version) = cache.get_versioned("a")?;
    /// assert_eq!(value.as_deref(), Some(&b"1"[..]));
    /// let options = SetOptions::new();
    /// assert!(cache.compare_and_set("a", &version, Bytes::from("2"), &options)?);
    /// assert!(!cache.compare_and_set("a", &version, Bytes::from("3"), &options)?);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`set`](Self::set); [`ErrorKind::Busy`] where a lock of L2 was not free in time;
    /// [`ErrorKind::Network`] or [`ErrorKind::Io`] where the tier that decides did not answer. Then
    /// the value may have been set or not, and nobody is served what was there before.
    /// [`ErrorKind::Config`] for options that name tiers: it is decided where the version is from.
    pub fn compare_and_set(
        &self,
        key: impl AsRef<[u8]>,
        version: &Version,
        value: V,
        options: &SetOptions,
    ) -> Result<bool> {
        if options.names_tiers() {
            return Err(Error::new(
                ErrorKind::Config,
                "tiers: a compare_and_set is decided where its version is from; name none",
            ));
        }
        let life = self.inner.life(options)?;
        self.inner.set_on(key.as_ref(), version, value, life, options.extras())
    }

    /// Sets `key` as [`set_with`](Self::set_with) does if it has no value, or a stale one. Returns
    /// whether it was set.
    ///
    /// # Errors
    /// As [`compare_and_set`](Self::compare_and_set).
    pub fn set_if_absent(
        &self,
        key: impl AsRef<[u8]>,
        value: V,
        options: &SetOptions,
    ) -> Result<bool> {
        let life = self.inner.life(options)?;
        let changed = self.inner.update(
            key.as_ref(),
            |present, _| Ok(present.is_none().then(|| (value.clone(), life))),
            options,
        );
        changed.map(|changed| changed.is_some())
    }

    /// Sets `key` to what `change` makes of its value, as one step for all processes and hosts that
    /// share the key, and returns the new value; `None` from `change` leaves all as it is.
    ///
    /// `change` runs with no lock held, again whenever somebody else was faster. A value keeps
    /// what remains of its time to live unless `options` set one; a [`touch`](Self::touch) of what is
    /// in L3 that comes in between is lost.
    ///
    /// # Errors
    /// As [`compare_and_set`](Self::compare_and_set), and [`ErrorKind::Busy`] where others were
    /// faster a thousand times.
    pub fn update(
        &self,
        key: impl AsRef<[u8]>,
        options: &SetOptions,
        mut change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>> {
        let life = self.inner.life(options)?;
        let rules = options.over(&self.inner.rules);
        self.inner.update(
            key.as_ref(),
            |present, fresh_left| {
                let keeps = present.is_some() && !options.sets_ttl();
                let life = if keeps { rules.lasting(fresh_left) } else { life };
                Ok(change(present).map(|value| (value, life)))
            },
            options,
        )
    }
}

impl<V: Countable + Clone + Send + Sync + 'static> Cache<V> {
    /// Adds `delta` to the number that `key` has (0 where it has none) as one step for all
    /// processes and hosts that share the key, and returns the sum. A number keeps what remains of
    /// its time to live.
    ///
    /// ```
    /// use tierce::Cache;
    ///
    /// let cache = Cache::builder().build()?;
    /// assert_eq!(cache.increment("visits", 1)?, 1);
    /// assert_eq!(cache.increment("visits", 41)?, 42);
    /// assert_eq!(cache.get("visits").as_deref(), Some(&b"42"[..]));
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`update`](Self::update), and [`ErrorKind::Codec`] where the value is no number, or the
    /// sum none of 64 bits; the value stays as it was.
    pub fn increment(&self, key: impl AsRef<[u8]>, delta: i64) -> Result<i64> {
        let life = self.inner.life(&SetOptions::new())?;
        let mut sum = 0;
        self.inner.update(
            key.as_ref(),
            |present, fresh_left| {
                let (before, life) = match present {
                    None => (0, life),
                    Some(value) => {
                        let before =
                            value.to_number().ok_or_else(|| no_number("the value is none"))?;
                        (before, self.inner.rules.lasting(fresh_left))
                    }
                };
                sum = before
                    .checked_add(delta)
                    .ok_or_else(|| no_number(&format!("{before} + {delta} is beyond 64 bits")))?;
                Ok(Some((V::from_number(sum), life)))
            },
            &SetOptions::new(),
        )?;
        Ok(sum)
    }
}

fn no_number(why: &str) -> Error {
    Error::new(ErrorKind::Codec, format!("increment: {why}: must be a whole number of 64 bits"))
}
