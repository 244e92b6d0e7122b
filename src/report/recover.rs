//! What interrupted commands left behind.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::binding::{Interrupted, Recovered, Recovery};
use crate::types::Bdf;

/// What `recover` found and did.
#[derive(Debug, Serialize)]
pub struct RecoverReport {
    recovered: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct Item {
    bdf: Bdf,
    interrupted: Option<&'static str>,
    #[serde(flatten)]
    result: Ending,
}

#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
enum Ending {
    Driver { driver: Option<String> },
    VirtualFunctions { count: u16 },
    Gone,
    Replaced { by: String },
    NotDone { why: Vec<String> },
}

impl RecoverReport {
    /// From what became of each.
    #[must_use]
    pub fn new(recovered: Vec<Recovered>) -> Self {
        let item = |recovered: Recovered| Item {
            bdf: recovered.bdf,
            interrupted: recovered.interrupted.map(name),
            result: match recovered.recovery {
                Recovery::Driver(driver) => Ending::Driver { driver },
                Recovery::Functions(count) => Ending::VirtualFunctions { count },
                Recovery::Gone => Ending::Gone,
                Recovery::Replaced(id) => Ending::Replaced {
                    by: format!("{:04x}:{:04x}", id.vendor, id.device),
                },
                Recovery::NotDone(error) => Ending::NotDone {
                    why: anyhow::Chain::new(&error)
                        .map(ToString::to_string)
                        .collect(),
                },
            },
        };
        Self {
            recovered: recovered.into_iter().map(item).collect(),
        }
    }
}

fn name(interrupted: Interrupted) -> &'static str {
    match interrupted {
        Interrupted::Bind => "bind",
        Interrupted::Unbind => "unbind",
        Interrupted::Run => "run",
        Interrupted::Functions => "change of virtual functions",
    }
}

impl Report for RecoverReport {
    const KIND: &'static str = "recover";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        if self.recovered.is_empty() {
            return writeln!(out, "nothing was interrupted, there is nothing to put back");
        }
        for item in &self.recovered {
            write!(out, "{}  ", item.bdf)?;
            if let Some(interrupted) = item.interrupted {
                write!(out, "{interrupted} was interrupted: ")?;
            }
            let good = style.good("put back");
            match &item.result {
                Ending::Driver {
                    driver: Some(driver),
                } => {
                    writeln!(out, "{good}, on {driver} as before")?;
                }
                Ending::Driver { driver: None } => {
                    writeln!(out, "{good}, without a driver as before")?;
                }
                Ending::VirtualFunctions { count: 0 } => {
                    writeln!(out, "{good}, no virtual functions as before")?;
                }
                Ending::VirtualFunctions { count } => {
                    writeln!(out, "{good}, {count} virtual functions as before")?;
                }
                Ending::Gone => writeln!(out, "the device is gone, nothing is left to put back")?,
                Ending::Replaced { by } => writeln!(
                    out,
                    "the device is gone, and another one ({by}) has its place, which is left alone"
                )?,
                Ending::NotDone { why } => {
                    let mut why = why.iter();
                    let first = why.next().map_or("", String::as_str);
                    writeln!(out, "{}: {first}", style.bad("not put back"))?;
                    why.try_for_each(|cause| writeln!(out, "  because: {cause}"))?;
                }
            }
        }
        Ok(())
    }
}
