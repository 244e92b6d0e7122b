//! The results in files, for other programs and for people.

use crate::cli::ValidateArgs;
use crate::commands::output_file;
use crate::report::{ValidateReport, validate_junit, validate_metrics, validate_page};

/// Writes those that the user named.
///
/// # Errors
/// One cannot be written.
pub fn write(args: &ValidateArgs, report: &ValidateReport) -> anyhow::Result<()> {
    output_file::write(args.junit.as_ref(), || Ok(validate_junit(report)?))?;
    if let Some(path) = &args.prometheus {
        output_file::replace(path, &validate_metrics(report))?;
    }
    output_file::write(args.html.as_ref(), || Ok(validate_page(report)))
}
