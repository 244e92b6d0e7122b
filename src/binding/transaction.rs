//! Several changes as one: all are made, or none.

use nix::sys::signal::Signal;
use std::path::PathBuf;

use super::nodes::NodeChange;
use super::plan::plan;
use super::{
    BindingError, DriverCore, DriverState, Entry, Goal, Journal, Owner, Step, StepError, Undo,
};
use crate::host::is_vfio_driver;
use crate::types::{Bdf, GroupId};

/// What became of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its address.
    pub bdf: Bdf,
    /// The driver it had before.
    pub before: Option<String>,
    /// The driver it has now.
    pub after: Option<String>,
    /// Whether anything was changed, be it only the driver_override.
    pub changed: bool,
    /// Its IOMMU group, as it is now.
    pub group: Option<GroupId>,
    /// The nodes through which user space reaches it.
    pub nodes: Vec<PathBuf>,
    /// To whom they are given.
    pub given: Option<Owner>,
}

/// A change to one device, and what the journal says of it meanwhile and afterwards.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub bdf: Bdf,
    pub group: Option<GroupId>,
    pub now: DriverState,
    pub goal: Goal,
    /// What becomes of the nodes.
    pub nodes: NodeChange,
    /// What the journal says before the change.
    pub entry_before: Option<Entry>,
    /// What it says while the change is under way.
    pub entry_during: Entry,
    /// What it says after it.
    pub entry_after: Option<Entry>,
}

impl Change {
    pub(super) fn steps(&self, core: &dyn DriverCore) -> Vec<Step> {
        let mut steps = plan(self.bdf, &self.now, &self.goal, |driver| {
            core.is_loaded(driver)
        });
        steps.extend(self.nodes.steps(self.bdf, self.group));
        steps
    }

    /// The steps back, from how the device is now.
    pub(super) fn steps_back(&self, core: &dyn DriverCore, now: &DriverState) -> Vec<Step> {
        let goal = Goal::State(self.now.clone());
        let mut steps = plan(self.bdf, now, &goal, |driver| core.is_loaded(driver));
        steps.extend(self.nodes.steps_back(self.bdf, self.group));
        steps
    }
}

/// Makes the changes in order. If one fails, or `signal` tells of a signal, those made are undone in reverse order.
///
/// All are noted as begun before the first is made, and as done after the last: a crash in between leaves all of them to be put back.
pub(super) fn apply(
    core: &dyn DriverCore,
    journal: &Journal,
    changes: &[Change],
    signal: &dyn Fn() -> Option<Signal>,
) -> Result<(), BindingError> {
    let together: Vec<Bdf> = changes.iter().map(|change| change.bdf).collect();
    let done = |cause: Result<(), BindingError>, change: &Change| {
        cause.map_err(|cause| {
            // A write that sleeps holds the device's lock: its state cannot even be read.
            let sleeps = matches!(
                cause,
                BindingError::Step {
                    cause: StepError::Sleeping,
                    ..
                }
            );
            let undoable = changes
                .iter()
                .filter(|other| !sleeps || other.bdf != change.bdf);
            BindingError::NotDone {
                bdf: change.bdf,
                cause: Box::new(cause),
                undo: undo(core, journal, undoable),
            }
        })
    };
    for change in changes {
        let entry = change.entry_during.together_with(&together);
        done(journal.set(change.bdf, Some(&entry)), change)?;
    }
    for change in changes {
        done(make(core, change, signal), change)?;
    }
    for change in changes {
        let entry = change.entry_after.as_ref();
        let entry = entry.map(|entry| entry.together_with(&together));
        done(journal.set(change.bdf, entry.as_ref()), change)?;
    }
    Ok(())
}

fn make(
    core: &dyn DriverCore,
    change: &Change,
    signal: &dyn Fn() -> Option<Signal>,
) -> Result<(), BindingError> {
    for step in change.steps(core) {
        if let Some(signal) = signal() {
            return Err(BindingError::Interrupted(signal));
        }
        perform(core, &step)?;
    }
    verify(core, change.bdf, &change.goal)
}

fn undo<'c>(
    core: &dyn DriverCore,
    journal: &Journal,
    changes: impl DoubleEndedIterator<Item = &'c Change>,
) -> Undo {
    let mut undo = Undo::default();
    for change in changes.rev() {
        match put_back(core, journal, change) {
            Ok(()) => undo.back.push((change.bdf, change.now.driver.clone())),
            Err(error) => undo.left.push((change.bdf, error.to_string())),
        }
    }
    undo
}

fn put_back(core: &dyn DriverCore, journal: &Journal, change: &Change) -> Result<(), BindingError> {
    let goal = Goal::State(change.now.clone());
    let now = core.state(change.bdf)?;
    for step in change.steps_back(core, &now) {
        perform(core, &step)?;
    }
    verify(core, change.bdf, &goal)?;
    journal.set(change.bdf, change.entry_before.as_ref())
}

fn perform(core: &dyn DriverCore, step: &Step) -> Result<(), BindingError> {
    core.perform(step).map_err(|cause| BindingError::Step {
        step: step.clone(),
        cause,
    })
}

fn verify(core: &dyn DriverCore, bdf: Bdf, goal: &Goal) -> Result<(), BindingError> {
    let found = core.state(bdf)?;
    let reached = match goal {
        Goal::State(wanted) => found == *wanted,
        Goal::Natural => {
            found.driver_override.is_none() && !found.driver.as_deref().is_some_and(is_vfio_driver)
        }
    };
    if reached {
        Ok(())
    } else {
        Err(BindingError::NotTaken {
            wanted: goal.clone(),
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::journal::Phase;
    use crate::binding::{NodeState, VFIO_PCI};
    use nix::errno::Errno;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// What the kernel's driver core does with devices (drivers/base/bus.c, drivers/pci/pci-driver.c), for two drivers.
    struct Model {
        devices: RefCell<BTreeMap<Bdf, DriverState>>,
        steps: Cell<usize>,
        /// How many steps gave nodes away, and how many made one what it was.
        node_steps: RefCell<[usize; 2]>,
        /// The steps, counted from 0, that fail.
        fails: Box<dyn Fn(usize) -> Option<StepError>>,
    }

    const NATIVE: &str = "nvme";

    impl Model {
        fn new(
            devices: &[(Bdf, DriverState)],
            fails: impl Fn(usize) -> Option<StepError> + 'static,
        ) -> Self {
            Self {
                devices: RefCell::new(devices.iter().cloned().collect()),
                steps: Cell::new(0),
                node_steps: RefCell::default(),
                fails: Box::new(fails),
            }
        }

        fn bind(&self, driver: &str, bdf: Bdf) -> Result<(), StepError> {
            let mut devices = self.devices.borrow_mut();
            let device = devices.get_mut(&bdf).unwrap();
            if device.driver.is_some() {
                return Err(StepError::Refused(Errno::EBUSY));
            }
            if device.driver_override.as_deref().unwrap_or(NATIVE) != driver {
                return Err(StepError::Refused(Errno::ENODEV));
            }
            device.driver = Some(driver.to_owned());
            Ok(())
        }

        fn write(&self, path: &Path, value: &str) -> Result<(), StepError> {
            let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
            match parts[4..] {
                ["devices", bdf, "driver_override"] => {
                    let mut devices = self.devices.borrow_mut();
                    let device = devices.get_mut(&bdf.parse().unwrap()).unwrap();
                    device.driver_override = (!value.is_empty()).then(|| value.to_owned());
                    Ok(())
                }
                ["drivers", driver, "unbind"] => {
                    let mut devices = self.devices.borrow_mut();
                    let device = devices.get_mut(&value.parse().unwrap()).unwrap();
                    if device.driver.as_deref() != Some(driver) {
                        return Err(StepError::Refused(Errno::ENODEV));
                    }
                    device.driver = None;
                    Ok(())
                }
                ["drivers", driver, "bind"] => self.bind(driver, value.parse().unwrap()),
                ["drivers_probe"] => self.bind(NATIVE, value.parse().unwrap()),
                _ => Err(StepError::Refused(Errno::ENOENT)),
            }
        }
    }

    impl DriverCore for Model {
        fn state(&self, bdf: Bdf) -> Result<DriverState, BindingError> {
            Ok(self.devices.borrow()[&bdf].clone())
        }

        fn is_loaded(&self, _driver: &str) -> bool {
            true
        }

        fn perform(&self, step: &Step) -> Result<(), StepError> {
            let place = self.steps.replace(self.steps.get() + 1);
            if let Some(error) = (self.fails)(place) {
                return Err(error);
            }
            match step {
                Step::Write { path, value } => return self.write(path, value),
                Step::GiveNodes { .. } => self.node_steps.borrow_mut()[0] += 1,
                Step::RestoreNode(_) => self.node_steps.borrow_mut()[1] += 1,
                Step::LoadModule(_) | Step::Nvme(_) => {}
            }
            Ok(())
        }
    }

    fn state(driver: Option<&str>, driver_override: Option<&str>) -> DriverState {
        DriverState {
            driver: driver.map(str::to_owned),
            driver_override: driver_override.map(str::to_owned),
        }
    }

    fn native() -> DriverState {
        state(Some(NATIVE), None)
    }

    fn bound() -> DriverState {
        state(Some(VFIO_PCI), Some(VFIO_PCI))
    }

    fn bdf(function: u8) -> Bdf {
        Bdf::new(0, 1, 0, function).unwrap()
    }

    fn to_vfio(bdf: Bdf) -> Change {
        let entry = Entry::example(bdf, Some(native()), Phase::Binding);
        Change {
            bdf,
            group: None,
            now: native(),
            goal: Goal::State(bound()),
            nodes: NodeChange::None,
            entry_before: None,
            entry_after: Some(entry.in_phase(Phase::Bound)),
            entry_during: entry,
        }
    }

    fn back(bdf: Bdf, now: DriverState) -> Change {
        let entry = Entry::example(bdf, Some(native()), Phase::Bound);
        Change {
            bdf,
            group: None,
            now,
            goal: Goal::State(native()),
            nodes: NodeChange::None,
            entry_during: entry.in_phase(Phase::Unbinding),
            entry_before: Some(entry),
            entry_after: None,
        }
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(folder.path().to_owned());
        (folder, journal)
    }

    const REFUSED: StepError = StepError::Refused(Errno::EIO);

    #[test]
    fn devices_are_bound_and_given_back() {
        let (_folder, journal) = journal();
        let start = [(bdf(0), native()), (bdf(1), native())];
        let model = Model::new(&start, |_| None);

        apply(
            &model,
            &journal,
            &[to_vfio(bdf(0)), to_vfio(bdf(1))],
            &|| None,
        )
        .unwrap();
        assert_eq!(model.state(bdf(1)).unwrap(), bound());
        assert_eq!(journal.entry(bdf(1)).unwrap().unwrap().phase, Phase::Bound);

        apply(
            &model,
            &journal,
            &[back(bdf(0), bound()), back(bdf(1), bound())],
            &|| None,
        )
        .unwrap();
        assert_eq!(*model.devices.borrow(), start.into_iter().collect());
        assert_eq!(journal.entries(), []);
    }

    /// Each of the steps of binding (3 a device) and of giving back (4 a device) fails once.
    #[test]
    fn whichever_step_fails_all_devices_are_as_before() {
        for failing in 0..6 {
            let (_folder, journal) = journal();
            let start = [(bdf(0), native()), (bdf(1), native())];
            let model = Model::new(&start, move |step| (step == failing).then_some(REFUSED));
            let error = apply(
                &model,
                &journal,
                &[to_vfio(bdf(0)), to_vfio(bdf(1))],
                &|| None,
            )
            .unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("0000:01:00.0 is on nvme as before"),
                "{error}"
            );
            assert_eq!(
                *model.devices.borrow(),
                start.into_iter().collect(),
                "step {failing}"
            );
            assert_eq!(journal.entries(), []);
        }
        for failing in 0..8 {
            let (_folder, journal) = journal();
            let start = [(bdf(0), bound()), (bdf(1), bound())];
            let changes = start.clone().map(|(bdf, now)| back(bdf, now));
            for change in &changes {
                journal
                    .set(change.bdf, change.entry_before.as_ref())
                    .unwrap();
            }
            let model = Model::new(&start, move |step| (step == failing).then_some(REFUSED));
            apply(&model, &journal, &changes, &|| None).unwrap_err();
            assert_eq!(
                *model.devices.borrow(),
                start.into_iter().collect(),
                "step {failing}"
            );
            assert!(
                journal
                    .entries()
                    .iter()
                    .all(|entry| entry.phase == Phase::Bound)
            );
            assert_eq!(journal.entries().len(), 2);
        }
    }

    /// The nodes are given away after the driver has the device, and made whose they were after it has left again.
    #[test]
    fn nodes_given_away_in_vain_are_taken_back() {
        let owner = Owner {
            uid: 1000,
            gid: None,
        };
        let there = NodeState {
            path: "/dev/vfio/7".into(),
            uid: 0,
            gid: 0,
            mode: 0o600,
        };
        let change = |bdf| Change {
            nodes: NodeChange::Give(owner, vec![there.clone()]),
            ..to_vfio(bdf)
        };
        // The second device's fourth step is to give its nodes away.
        for failing in [7, 99] {
            let (_folder, journal) = journal();
            let start = [(bdf(0), native()), (bdf(1), native())];
            let model = Model::new(&start, move |step| {
                (step == failing).then(|| StepError::Nodes("no node".to_owned()))
            });
            let done = apply(&model, &journal, &[change(bdf(0)), change(bdf(1))], &|| {
                None
            });
            assert_eq!(done.is_ok(), failing == 99);
            let [given, restored] = *model.node_steps.borrow();
            let (state, counts) = match done {
                Ok(()) => (bound(), (2, 0)),
                Err(_) => (native(), (1, 2)),
            };
            assert_eq!((given, restored), counts);
            assert_eq!(model.state(bdf(0)).unwrap(), state);
            assert_eq!(model.state(bdf(1)).unwrap(), state);
        }
    }

    #[test]
    fn a_signal_before_any_step_undoes_all() {
        for early in 0..6 {
            let (_folder, journal) = journal();
            let start = [(bdf(0), native()), (bdf(1), native())];
            let model = Model::new(&start, |_| None);
            let asked = Cell::new(0);
            let signal = || (asked.replace(asked.get() + 1) == early).then_some(Signal::SIGTERM);
            let error = apply(
                &model,
                &journal,
                &[to_vfio(bdf(0)), to_vfio(bdf(1))],
                &signal,
            )
            .unwrap_err();
            let BindingError::NotDone { cause, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(cause.to_string(), "interrupted by SIGTERM");
            assert_eq!(
                *model.devices.borrow(),
                start.into_iter().collect(),
                "signal {early}"
            );
            assert_eq!(journal.entries(), []);
        }
    }

    /// The process dies, or the kernel refuses everything from some step on: the journal still leads back.
    #[test]
    fn what_was_left_half_done_can_be_put_back_later() {
        for failing in 0..3 {
            let (_folder, journal) = journal();
            let model = Model::new(&[(bdf(0), native())], move |step| {
                (step >= failing).then_some(REFUSED)
            });
            let error = apply(&model, &journal, &[to_vfio(bdf(0))], &|| None).unwrap_err();
            let left = model.state(bdf(0)).unwrap();
            assert_eq!(
                error.to_string().contains("iommu-tool recover"),
                left != native(),
                "{error}"
            );

            let model = Model::new(&[(bdf(0), left.clone())], |_| None);
            apply(&model, &journal, &[back(bdf(0), left)], &|| None).unwrap();
            assert_eq!(model.state(bdf(0)).unwrap(), native(), "step {failing}");
            assert_eq!(journal.entries(), []);
        }
    }

    #[test]
    fn a_write_that_sleeps_is_left_to_the_kernel() {
        let (_folder, journal) = journal();
        let model = Model::new(&[(bdf(0), bound())], |step| {
            (step == 1).then_some(StepError::Sleeping)
        });
        apply(&model, &journal, &[back(bdf(0), bound())], &|| None).unwrap_err();
        assert_eq!(model.steps.get(), 2);
        assert_eq!(
            journal.entry(bdf(0)).unwrap().unwrap().phase,
            Phase::Unbinding
        );
    }

    #[test]
    fn a_state_that_was_not_reached_is_noticed() {
        let model = Model::new(&[(bdf(0), state(None, Some(VFIO_PCI)))], |_| None);
        for goal in [Goal::State(bound()), Goal::Natural] {
            let error = verify(&model, bdf(0), &goal).unwrap_err().to_string();
            assert!(
                error.contains("without a driver with driver_override vfio-pci"),
                "{error}"
            );
        }
        let model = Model::new(&[(bdf(0), native())], |_| None);
        verify(&model, bdf(0), &Goal::Natural).unwrap();
    }
}
