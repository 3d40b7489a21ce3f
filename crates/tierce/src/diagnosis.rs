//! What a look at the surroundings of a cache found: the machine, a folder, a server.

use std::{borrow::Cow, fmt};

/// How good it is what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Fitness {
    /// As it should be.
    #[cfg_attr(feature = "serde", serde(rename = "ok"))]
    Fit,
    /// It works, but something will be slower, weaker or different than one may expect.
    #[cfg_attr(feature = "serde", serde(rename = "warn"))]
    Doubtful,
    /// A tier does not work here.
    #[cfg_attr(feature = "serde", serde(rename = "fail"))]
    Unfit,
}

impl Fitness {
    /// `ok`, `warn` or `fail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fit => "ok",
            Self::Doubtful => "warn",
            Self::Unfit => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Diagnosis {
    /// What was looked at, such as `store.room`: the same in all versions.
    pub check: Cow<'static, str>,
    /// How good it is.
    pub verdict: Fitness,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do about it; `None` where there is nothing to be done.
    pub remedy: Option<String>,
}

#[cfg_attr(not(any(feature = "shared", feature = "redis")), allow(dead_code))]
impl Diagnosis {
    pub(crate) fn fit(check: &'static str, found: impl Into<String>) -> Self {
        let (check, found) = (Cow::Borrowed(check), found.into());
        Self { check, verdict: Fitness::Fit, found, remedy: None }
    }

    pub(crate) fn doubtful(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { verdict: Fitness::Doubtful, remedy, ..Self::fit(check, found) }
    }

    pub(crate) fn unfit(
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Fitness::Unfit, ..Self::doubtful(check, found, remedy) }
    }

    /// The same of one part of several: `redis.command.EVALSHA`.
    pub(crate) fn of(mut self, part: &str) -> Self {
        self.check = Cow::Owned(format!("{}.{part}", self.check));
        self
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.verdict.as_str(), self.check, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(out, ": {remedy}"),
            None => Ok(()),
        }
    }
}
