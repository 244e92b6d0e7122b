//! Changes against a folder that behaves as the kernel's (`sriov_numvfs_store` of drivers/pci/pci-sysfs.c).

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::*;
use crate::binding::{DriverState, Entry, Phase};

const PF: &str = "sys/bus/pci/devices/0000:02:00.0";

/// A physical function that can have 7 virtual ones, in a folder.
struct Model {
    root: tempfile::TempDir,
    steps: Cell<usize>,
    /// The steps, counted from 0, that fail.
    fails: fn(usize) -> Option<StepError>,
}

impl Model {
    fn new(count: u16, fails: fn(usize) -> Option<StepError>) -> Self {
        let model = Self {
            root: tempfile::tempdir().unwrap(),
            steps: Cell::new(0),
            fails,
        };
        for (name, text) in [
            ("sriov_totalvfs", "7\n"),
            ("sriov_offset", "128\n"),
            ("sriov_stride", "2\n"),
            ("sriov_drivers_autoprobe", "1\n"),
        ] {
            model.write(&format!("{PF}/{name}"), text);
        }
        model.describe("0000:02:00.0", "10C9");
        model.make(count);
        model
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn describe(&self, bdf: &str, device: &str) {
        let alias = format!("pci:v00008086d0000{device}sv00001AF4sd00001100bc02sc00i00\n");
        self.write(&format!("sys/bus/pci/devices/{bdf}/modalias"), &alias);
    }

    fn make(&self, count: u16) {
        for number in 0..count {
            let bdf = function(number).to_string();
            self.describe(&bdf, "10CA");
            let link = self.path(format!("{PF}/virtfn{number}"));
            symlink(format!("../{bdf}"), link).unwrap();
        }
    }

    fn count(&self) -> u16 {
        self.host().sriov(pf_bdf()).unwrap().count()
    }

    fn host(&self) -> Host {
        Host::at(self.root.path())
    }

    fn set_number(&self, number: u16) -> Result<(), StepError> {
        let now = self.count();
        if number > 0 && now > 0 {
            return Err(StepError::Refused(Errno::EBUSY));
        }
        for number in 0..now {
            fs::remove_file(self.path(format!("{PF}/virtfn{number}"))).unwrap();
            let folder = format!("sys/bus/pci/devices/{}", function(number));
            fs::remove_dir_all(self.path(folder)).unwrap();
        }
        self.make(number);
        Ok(())
    }
}

impl DriverCore for Model {
    fn state(&self, _bdf: Bdf) -> Result<DriverState, BindingError> {
        Ok(DriverState::default())
    }

    fn is_loaded(&self, _driver: &str) -> bool {
        true
    }

    fn perform(&self, step: &Step) -> Result<(), StepError> {
        let place = self.steps.replace(self.steps.get() + 1);
        if let Some(error) = (self.fails)(place) {
            return Err(error);
        }
        let Step::Write { path, value } = step else {
            panic!("{step}")
        };
        if path.ends_with("sriov_numvfs") {
            self.set_number(value.parse().unwrap())
        } else {
            let path = path.strip_prefix("/").unwrap();
            fs::write(self.path(path), value).unwrap();
            Ok(())
        }
    }
}

fn pf_bdf() -> Bdf {
    "02:00.0".parse().unwrap()
}

fn function(number: u16) -> Bdf {
    pf_bdf().with_routing_id(0x0280 + 2 * number)
}

fn wanted(count: u16, autoprobe: bool) -> FunctionsWanted {
    FunctionsWanted {
        count,
        autoprobe,
        token: None,
        allow: Vec::new(),
    }
}

/// Changes the number, and notes what the journal says afterwards.
fn run(
    model: &Model,
    wanted: &FunctionsWanted,
    signal: &dyn Fn() -> Option<Signal>,
) -> (Result<(), BindingError>, Option<FunctionsEntry>) {
    let host = model.host();
    let journal = Journal::of(&host);
    let pf = host.device(pf_bdf()).unwrap();
    let sriov = host.sriov(pf.bdf).unwrap();
    let entry = entry(&host, &journal, &pf, &sriov, wanted).unwrap();
    let parts = Change {
        host: &host,
        core: model,
        journal: &journal,
        pf: &pf,
        signal,
    };
    let result = change(&parts, wanted, &entry);
    (result, journal.functions(pf.bdf).unwrap())
}

fn autoprobe(model: &Model) -> String {
    fs::read_to_string(model.path(format!("{PF}/sriov_drivers_autoprobe"))).unwrap()
}

const REFUSED: StepError = StepError::Refused(Errno::ENOMEM);

#[test]
fn functions_are_made_and_removed() {
    let model = Model::new(0, |_| None);
    run(&model, &wanted(7, true), &|| None).0.unwrap();
    assert_eq!(model.count(), 7);
    run(&model, &wanted(3, false), &|| None).0.unwrap();
    assert_eq!((model.count(), autoprobe(&model).trim()), (3, "1"));
    run(&model, &wanted(0, true), &|| None).0.unwrap();
    assert_eq!(model.count(), 0);
}

/// From 2 to 5 without drivers takes 4 steps; whichever fails, there are 2 again, and drivers may take new ones.
#[test]
fn whichever_step_fails_there_are_as_many_as_before() {
    let failures: [fn(usize) -> Option<StepError>; 4] = [
        |step| (step == 0).then_some(REFUSED),
        |step| (step == 1).then_some(REFUSED),
        |step| (step == 2).then_some(REFUSED),
        |step| (step == 3).then_some(REFUSED),
    ];
    for (number, fails) in failures.into_iter().enumerate() {
        let model = Model::new(2, fails);
        let (result, left) = run(&model, &wanted(5, false), &|| None);
        let error = result.unwrap_err();
        assert!(error.to_string().contains("2 as before"), "{error}");
        assert_eq!(
            (model.count(), autoprobe(&model).trim()),
            (2, "1"),
            "step {number}"
        );
        assert_eq!(left, None);
    }
}

#[test]
fn a_signal_before_any_step_undoes_all() {
    for early in 0..4 {
        let model = Model::new(2, |_| None);
        let asked = Cell::new(0);
        let signal = || (asked.replace(asked.get() + 1) == early).then_some(Signal::SIGINT);
        let (result, left) = run(&model, &wanted(5, false), &signal);
        let BindingError::FunctionsNotChanged { cause, .. } = result.unwrap_err() else {
            panic!("signal {early}")
        };
        assert_eq!(cause.to_string(), "interrupted by SIGINT");
        assert_eq!((model.count(), left), (2, None), "signal {early}");
    }
}

/// The kernel refuses everything from some step on, or the process is killed: the journal still says how many there were.
#[test]
fn what_was_left_half_done_can_be_put_back_later() {
    let model = Model::new(2, |step| (step >= 1).then_some(REFUSED));
    let (result, left) = run(&model, &wanted(5, true), &|| None);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("iommu-tool recover"), "{error}");
    assert_eq!(model.count(), 0);
    let left = left.unwrap();
    assert_eq!((left.before, left.phase), (2, FunctionsPhase::Changing));

    let host = model.host();
    let pf = host.device(pf_bdf()).unwrap();
    let error = check(&host, &Journal::of(&host), &pf, &wanted(3, true)).unwrap_err();
    assert!(
        matches!(error, BindingError::UnfinishedFunctions(_)),
        "{error}"
    );
    assert_eq!(unfinished_functions(&host), [(pf_bdf(), 2)]);

    let later = Model {
        fails: |_| None,
        ..model
    };
    let parts = Change {
        host: &host,
        core: &later,
        journal: &Journal::of(&host),
        pf: &pf,
        signal: &|| None,
    };
    assert_eq!(put_back(&parts, &left).unwrap(), 2);
    assert_eq!(later.count(), 2);
}

#[test]
fn a_write_that_sleeps_is_left_to_the_kernel() {
    let model = Model::new(2, |step| (step == 0).then_some(StepError::Sleeping));
    let (result, left) = run(&model, &wanted(0, true), &|| None);
    assert!(result.unwrap_err().to_string().contains("still works"));
    assert_eq!(model.steps.get(), 1);
    assert!(left.is_some());
}

#[test]
fn what_was_remembered_of_functions_that_are_gone_is_forgotten() {
    let model = Model::new(2, |_| None);
    let host = model.host();
    let journal = Journal::of(&host);
    let device = host.device(function(1)).unwrap();
    let bound = Entry::new(&host, &device, None, "vfio-pci").in_phase(Phase::Bound);
    journal.set(device.bdf, Some(&bound)).unwrap();

    run(&model, &wanted(0, true), &|| None).0.unwrap();

    assert_eq!(journal.entries(), []);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let model = Model::new(2, |_| None);
    let host = model.host();
    let journal = Journal::of(&host);
    let pf = host.device(pf_bdf()).unwrap();
    let refused = |device: &PciDevice, count| {
        let error = check(&host, &journal, device, &wanted(count, true)).unwrap_err();
        (error.class() as u8, error.to_string())
    };

    let (class, text) = refused(&pf, 8);
    assert_eq!(
        (class, &*text),
        (2, "0000:02:00.0 can have 7 virtual functions, not 8")
    );
    let (class, text) = refused(&pf, 1);
    assert!(class == 1 && text.contains("has no driver"), "{text}");
    symlink(
        "../0000:02:00.0",
        model.path("sys/bus/pci/devices/0000:02:10.0/physfn"),
    )
    .unwrap();
    let (class, text) = refused(&host.device(function(0)).unwrap(), 1);
    assert!(
        class == 2 && text.contains("it is one itself, of 0000:02:00.0"),
        "{text}"
    );
}
