//! `hold DEVICE...`: own an address space, and the devices in it.

use super::target::targets;
use super::{Context, class_of};
use crate::cli::HoldArgs;
use crate::session::{self, End, Failure, Held, HoldOptions, SessionError, StartReport};
use crate::types::ExitClass;

/// Holds the devices until there is a reason to end.
///
/// # Errors
/// A device cannot be had. A command that waits for the start is told.
pub fn run(args: &HoldArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let held = hold(args, context);
    if let (Some(to), Err(error)) = (&args.report_to, &held) {
        let taken = error.downcast_ref();
        if !matches!(taken, Some(SessionError::Held { .. })) {
            let failure = Failure::from_chain(class_of(error), error.as_ref());
            session::report(to, &StartReport::Failed(failure));
        }
    }
    match held? {
        Held::Ended(End::Released) => Ok(ExitClass::Failed),
        Held::Ended(End::Unmapped | End::Signal(_)) => Ok(ExitClass::Done),
        Held::Joined(holder) => {
            let hello = holder.hello();
            let until = if hello.until_unmapped {
                "until its last mapping is unmapped, as 'map' started it"
            } else {
                "from now on"
            };
            log::info!(
                "the group is held already: joined process {}, which holds the devices {until}",
                hello.pid
            );
            Ok(ExitClass::Done)
        }
    }
}

fn hold(args: &HoldArgs, context: &Context) -> anyhow::Result<Held> {
    let targets = targets(&context.host, &args.devices)?;
    let nodes: Vec<_> = targets.into_iter().map(|target| target.node).collect();
    let options = HoldOptions {
        backend: args.backend,
        until_unmapped: args.until_unmapped,
        detach: args.detach,
        run_checks: super::test::run_checks,
        report_to: args.report_to.clone(),
    };
    Ok(session::hold(&nodes, &options)?)
}
