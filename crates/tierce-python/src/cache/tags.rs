//! What is changed by its tags, whatever its keys are.

use pyo3::prelude::*;

use super::PyCache;
use crate::tags::{one_tag, tag_bytes};

#[pymethods]
impl PyCache {
    /// Remove all that bears `tag` from all tiers, as `delete` of each key would.
    ///
    /// It costs as much as one `delete`, however much bears the tag. What was looked for or loaded
    /// before is not served any more, also where a loader names the tag later.
    ///
    /// Parameters
    /// ----------
    /// tag : str or bytes
    ///     As it was given to `set`, `Loaded` or a load.
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Notes
    /// -----
    /// Tags are told apart by 4,096 cells (65,536 in a store of 64 MiB and more). Two that share
    /// a cell are removed together: a miss now and then, never a value too old.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set("name:7", "Ada", tags=["user:7"])
    /// >>> cache.set("mail:7", "ada@example.org", tags=["user:7"])
    /// >>> cache.remove_tag("user:7")
    /// >>> "name:7" in cache, "mail:7" in cache
    /// (False, False)
    fn remove_tag(&self, tag: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = one_tag(tag)?;
        self.change(tag.py(), || self.core.remove_tag(name))
    }

    /// Remove all that bears one of these tags, as `remove_tag` of each does.
    ///
    /// Parameters
    /// ----------
    /// tags : iterable of str or bytes
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set("name:7", "Ada", tags=["user:7"])
    /// >>> cache.remove_tags(["user:7", "user:8"])
    /// >>> len(cache.get_many(["name:7"]))
    /// 0
    fn remove_tags(&self, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        let names = tag_bytes(tags)?;
        self.change(tags.py(), || self.core.remove_tags(names))
    }

    /// Make all that bears `tag` stale in all tiers, as `expire` of each key would.
    ///
    /// It costs as much as one `expire`, however much bears the tag. What has no stale window is
    /// gone; a window counts from the first look at it.
    ///
    /// Parameters
    /// ----------
    /// tag : str or bytes
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(ttl=60, stale_if_error=600)
    /// >>> cache.set("name:7", "Ada", tags=["user:7"])
    /// >>> cache.expire_tag("user:7")
    /// >>> cache.get("name:7"), cache.get("name:7", allow_stale=True)
    /// (None, 'Ada')
    fn expire_tag(&self, tag: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = one_tag(tag)?;
        self.change(tag.py(), || self.core.expire_tag(name))
    }

    /// Make all that bears one of these tags stale, as `expire_tag` of each does.
    ///
    /// Parameters
    /// ----------
    /// tags : iterable of str or bytes
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set("name:7", "Ada", tags=["user:7"])
    /// >>> cache.expire_tags(["user:7", "user:8"])
    /// >>> "name:7" in cache
    /// False
    fn expire_tags(&self, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        let names = tag_bytes(tags)?;
        self.change(tags.py(), || self.core.expire_tags(names))
    }

    /// Remove all whose keys begin with `prefix` from all tiers, as `delete` of each key would.
    ///
    /// It costs as much as one `delete`, however many keys there are. What was looked for or loaded
    /// before is not served any more. The cache must be made with a delimiter.
    ///
    /// Parameters
    /// ----------
    /// prefix : str or bytes
    ///     Ends in the delimiter, and has eight of them at most.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The cache has no delimiter, or the prefix does not end in it or has too many.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(options={"invalidation.prefix_delimiter": "/"})
    /// >>> cache["user/7/name"] = "Ada"
    /// >>> cache.remove_prefix("user/7/")
    /// >>> "user/7/name" in cache
    /// False
    fn remove_prefix(&self, prefix: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = one_tag(prefix)?;
        self.change(prefix.py(), || self.core.remove_prefix(name))
    }

    /// Make all stale whose keys begin with `prefix`, in all tiers, as `expire` of each key would.
    ///
    /// Parameters
    /// ----------
    /// prefix : str or bytes
    ///     As for `remove_prefix`.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `remove_prefix`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(ttl=60, options={"invalidation.prefix_delimiter": "/"})
    /// >>> cache.set("user/7/name", "Ada", stale_if_error=60)
    /// >>> cache.expire_prefix("user/")
    /// >>> cache.get("user/7/name"), cache.get("user/7/name", allow_stale=True)
    /// (None, 'Ada')
    fn expire_prefix(&self, prefix: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = one_tag(prefix)?;
        self.change(prefix.py(), || self.core.expire_prefix(name))
    }
}

impl PyCache {
    /// Removes what bears a tag that no caller names.
    pub(crate) fn remove_by_tag(&self, py: Python<'_>, tag: &[u8]) -> PyResult<()> {
        self.change(py, || self.core.remove_tag(tag))
    }
}
