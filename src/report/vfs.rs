//! Virtual functions.

use serde::Serialize;
use std::io::{self, Write};

use super::{Report, Style};
use crate::binding::VirtualFunctions;
use crate::types::{Bdf, GroupId};

/// What `vfs` found or made.
#[derive(Debug, Serialize)]
pub struct VfsReport {
    physical_function: Bdf,
    total: u16,
    before: u16,
    count: usize,
    functions: Vec<Function>,
    /// What whoever opens one must show; `null` if nothing.
    token: Option<String>,
    /// What is still missing before they can be used.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Function {
    bdf: Bdf,
    group: Option<GroupId>,
    driver: Option<String>,
}

impl VfsReport {
    /// From what there is.
    #[must_use]
    pub fn new(found: VirtualFunctions) -> Self {
        let functions: Vec<Function> = found
            .functions
            .into_iter()
            .map(|device| Function {
                bdf: device.bdf,
                group: device.group,
                driver: device.driver,
            })
            .collect();
        Self {
            physical_function: found.physical,
            total: found.total,
            before: found.before,
            count: functions.len(),
            functions,
            token: found.token,
            notes: found.notes,
        }
    }
}

impl Report for VfsReport {
    const KIND: &'static str = "vfs";

    fn text(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let count = self.count.to_string();
        write!(
            out,
            "{} has {} of {} virtual functions",
            self.physical_function,
            style.heading(&count),
            self.total
        )?;
        if self.count == usize::from(self.before) {
            writeln!(out)?;
        } else {
            writeln!(out, " now, it had {}", self.before)?;
        }
        for function in &self.functions {
            let group = function.group.map_or_else(
                || "in no group".to_owned(),
                |group| format!("group {group}"),
            );
            let driver = match &function.driver {
                Some(driver) => format!("on {driver}"),
                None => "without a driver".to_owned(),
            };
            writeln!(out, "  {}  {group}, {driver}", function.bdf)?;
        }
        if let Some(token) = &self.token {
            writeln!(
                out,
                "  to open one takes the token {token}; this program shows it by itself"
            )?;
        }
        for note in &self.notes {
            writeln!(out, "{}: {note}", style.caution("note"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::PciDevice;
    use crate::types::PciId;

    #[test]
    fn text_and_json_say_the_same() {
        let physical: Bdf = "02:00.0".parse().unwrap();
        let function = PciDevice {
            bdf: "02:10.0".parse().unwrap(),
            id: PciId {
                vendor: 0x8086,
                device: 0x10ca,
                class: 0x02_0000,
            },
            subsystem: None,
            revision: 1,
            driver: Some("igbvf".into()),
            group: Some(GroupId(10)),
            numa_node: None,
        };
        let report = VfsReport::new(VirtualFunctions {
            physical,
            total: 7,
            before: 0,
            functions: vec![function],
            token: None,
            notes: vec!["eth0 is down".into()],
        });
        let mut out = Vec::new();
        report.text(&mut out, Style::new(false)).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "0000:02:00.0 has 1 of 7 virtual functions now, it had 0\n  \
             0000:02:10.0  group 10, on igbvf\n\
             note: eth0 is down\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["count"], &json["total"]), (&1.into(), &7.into()));
        assert_eq!(json["functions"][0]["driver"], "igbvf");
    }
}
