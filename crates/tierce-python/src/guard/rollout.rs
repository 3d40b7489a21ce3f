//! What is asked of the rollout that a guard drives.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyFloat, PyInt},
};
use tierce::guard::rollout::Command;

use super::PyGuard;
use crate::key::type_name;

#[pymethods]
impl PyGuard {
    /// Return where the rollout is, as of the latest look; None where there is none.
    ///
    /// Returns
    /// -------
    /// dict or None
    ///     "plan", "stage" ("idle", "waiting", "running", "paused", "rolling_back", "rolled_back" or
    ///     "complete"), "phase", "step", "percent", "baseline", "target", "green_ms" of "needed_ms", and
    ///     "red", why the gate is shut; while keys are split also "sides", and with other hosts "hosts".
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().guard().rollout() is None
    /// True
    fn rollout<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.document(py, |guard| Ok(guard.rollout_json()))
    }

    /// Return every decision of the rollout, the oldest first.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     "at_ms" since 1970, "kind", "rule" and "value" that it was judged by, "by", "stage", "phase",
    ///     "step" and "percent" from then on.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     There is no rollout.
    ///
    /// Examples
    /// --------
    /// >>> import pathlib, tempfile, tierce
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     plan = pathlib.Path(folder, "plan.yaml")
    /// ...     _ = plan.write_text('''
    /// ... plan: try it
    /// ... baseline: L1
    /// ... phases: [{name: all, target: L1, steps: [{share: 10%, wait: 1h}, {share: 100%, wait: 1d}]}]
    /// ... ''')
    /// ...     with tierce.Cache().guard(f"""
    /// ... rollout: {{plan: {plan}, journal: {folder}/journal, instance: web-1}}
    /// ... """) as guard:
    /// ...         guard.start(by="ada")
    /// ...         guard.rollback(by="ada")
    /// ...         guard.rollout()["stage"]
    /// ...         [guard.history()[at]["kind"] for at in (0, -1)]
    /// 'rolled_back'
    /// ['started', 'rolled_back']
    fn history<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.document(py, |guard| guard.rollout_history_json().map(Some))
    }

    /// Begin a rollout: with the plan that there is, or with another one.
    ///
    /// The decision is written down when this returns; the first step is taken by the next look of who
    /// leads, within a second, if what it requires holds.
    ///
    /// Parameters
    /// ----------
    /// plan : str, optional
    ///     In YAML, for a guard that takes part in the rollouts of its store (`rollout.of_store`): it
    ///     begins in all such processes of the host, or, with L3, on all hosts. Without it, the plan
    ///     of `rollout.plan`, or the one that the store had before.
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     A plan that cannot be carried out; one is under way; there is none to take part in; or this
    ///     is a forked child.
    /// TierceError
    ///     The journal cannot be written, or L3 does not answer.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().start()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (plan=None, *, by="python"))]
    fn start(&self, py: Python<'_>, plan: Option<&str>, by: &str) -> PyResult<()> {
        self.ask(py, |watching| match plan {
            Some(plan) => watching.guard().start_rollout(by, plan),
            None => watching.guard().command(by, Command::Start),
        })
    }

    /// Go on to the next step of the rollout, if its gate is passed.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The gate is not passed, there is no step to go to, or no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().advance()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn advance(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Advance)
    }

    /// Go on to the next step of the rollout, whatever its gate says.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     There is no step to go to, or no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().force()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn force(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Force)
    }

    /// Raise the share of the rollout no further. What takes it back is looked at as before.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     It cannot be paused now, or there is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().pause()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn pause(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Pause)
    }

    /// Undo a pause.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     It is not paused, or there is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().resume()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn resume(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Resume)
    }

    /// Take the rollout back. Always obeyed, and undone by nothing but a start.
    ///
    /// It is in force in this process even where the journal cannot be written.
    ///
    /// Parameters
    /// ----------
    /// gradual : bool, default False
    ///     By the steps of the plan, not at once.
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     There is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().rollback()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, gradual=false, by="python"))]
    fn rollback(&self, py: Python<'_>, gradual: bool, by: &str) -> PyResult<()> {
        let name = if gradual { "gradual_rollback" } else { "rollback" };
        let command = Command::parse(name).expect("the core knows the names of its commands");
        self.command(py, by, command)
    }

    /// Tell the rollout what its plan calls `input.NAME`.
    ///
    /// Parameters
    /// ----------
    /// name : str
    ///     The name.
    /// value : float or bool
    ///     A number, or whether it is so.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The value is no number (NaN), or there is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().push("approval", True)
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    fn push(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = value.py();
        let number = if let Ok(flag) = value.cast::<PyBool>() {
            f64::from(u8::from(flag.is_true()))
        } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
            value.extract()?
        } else {
            return Err(PyTypeError::new_err(format!(
                "value must be float or bool, not {}",
                type_name(value)
            )));
        };
        self.ask(py, |watching| watching.guard().push(name, number))
    }
}
