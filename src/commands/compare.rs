//! `compare BEFORE AFTER`: what became slower or faster from one run of `bench` to another.

use std::fs;
use std::path::Path;

use super::{Context, Failure};
use crate::bench::{self, Record};
use crate::cli::CompareArgs;
use crate::report::CompareReport;
use crate::types::ExitClass;

/// Compares two records, and prints what changed.
///
/// # Errors
/// A file cannot be read, or is no record.
pub fn run(args: &CompareArgs, context: &Context) -> anyhow::Result<ExitClass> {
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let changes = bench::compare(&before, &after);
    let name = |path: &Path| path.display().to_string();
    let report = CompareReport::new(
        (name(&args.before), &before),
        (name(&args.after), &after),
        changes,
        args.fail_above,
        args.all,
    );
    context.output.emit(&report)?;
    Ok(report.class())
}

fn read(path: &Path) -> Result<Record, Failure> {
    let usage = |reason: anyhow::Error| {
        let path = path.display();
        Failure::new(
            ExitClass::Usage,
            format!("cannot compare {path}: {reason:#}"),
        )
    };
    let text = fs::read_to_string(path).map_err(|error| usage(error.into()))?;
    Record::parse(&text).map_err(|error| usage(error.into()))
}
