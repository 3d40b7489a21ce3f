//! The rollout of all hosts that share a Redis, for who is none of their processes.

use super::{
    decision::{Command, Decision},
    operator::Operator,
};
use crate::{
    error::Result,
    tier::{self, RedisOptions},
};

/// The rollout of all hosts that have their L3 in one Redis, under one prefix, for an operator.
///
/// Processes take part whose guard was told so
/// ([`GuardBuilder::rollout_of_store`](crate::guard::GuardBuilder::rollout_of_store)) and whose cache
/// was given options for L3. They follow within half a second. Where Redis does not answer, a rollback
/// can be asked of the store of any host ([`StoreRollout`](super::StoreRollout)): it is in force there at
/// once, and on the others when Redis is back.
pub struct RedisRollout {
    operator: Operator,
}

impl std::fmt::Debug for RedisRollout {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RedisRollout").finish_non_exhaustive()
    }
}

impl RedisRollout {
    /// Checks the options. The server need not be there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) names what is wrong.
    pub fn open(options: RedisOptions) -> Result<Self> {
        Ok(Self { operator: Operator::new(tier::open_redis(options)?) })
    }

    /// Begins with this plan, in YAML, on all hosts.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a plan that cannot be carried out, and while
    /// a rollout is under way; what Redis says.
    pub fn start(&self, by: &str, plan: &str) -> Result<Vec<Decision>> {
        self.operator.start(by, plan)
    }

    /// Asks for something else of the rollout that was started.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) where it cannot be done now, or there is no
    /// rollout; what Redis says: then it may be done or not.
    pub fn ask(&self, by: &str, command: Command) -> Result<Vec<Decision>> {
        self.operator.ask(by, command)
    }

    /// The decision that holds; `None` where nobody started a rollout.
    ///
    /// # Errors
    /// What Redis says.
    pub fn latest(&self) -> Result<Option<Decision>> {
        Ok(self.operator.look()?.latest().cloned())
    }

    /// The last 1,000 decisions, of whichever host.
    ///
    /// # Errors
    /// What Redis says.
    pub fn history(&self) -> Result<Vec<Decision>> {
        Ok(self.operator.look()?.decisions)
    }

    /// The share of all hosts, in percent; `None` where nobody started a rollout.
    ///
    /// # Errors
    /// What Redis says.
    pub fn percent(&self) -> Result<Option<f64>> {
        Ok(self.operator.present()?.0)
    }

    /// The name of the process that leads.
    ///
    /// # Errors
    /// What Redis says.
    pub fn leader(&self) -> Result<Option<String>> {
        Ok(self.operator.present()?.1)
    }
}
