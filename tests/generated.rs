//! man/ and completions/ are what the command line's definitions generate.
//!
//! After a change of `src/cli.rs`: `SNAPSHOTS=overwrite cargo test --test generated`.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use iommu_tool::cli::Cli;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Compares a folder of the repository with generated files, or rewrites it.
fn assert_folder_is(folder: &str, generate: impl Fn(&Path)) {
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::remove_dir_all(&committed).unwrap();
        fs::create_dir(&committed).unwrap();
        for (name, text) in files(fresh.path()) {
            fs::write(committed.join(name), text).unwrap();
        }
    }
    let (expected, actual) = (files(fresh.path()), files(&committed));
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&actual),
        names(&expected),
        "{folder}/ has other files than the command line generates"
    );
    for (name, text) in expected {
        assert!(
            actual[&name] == text,
            "{folder}/{name} is stale; run: SNAPSHOTS=overwrite cargo test --test generated"
        );
    }
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let read = |entry: fs::DirEntry| {
        (
            entry.file_name().into_string().unwrap(),
            fs::read_to_string(entry.path()).unwrap(),
        )
    };
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| read(entry.unwrap()))
        .collect()
}

fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// The manual page of a command. What its help says behind the options is in sections of its own.
fn page(command: &Command, helps: &[(&str, String)]) -> String {
    let man = Man::new(command.clone())
        .title(page_name(command))
        .date("\"\"")
        .source(concat!("iommu-tool ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let is_program = command.has_subcommands();
    if is_program {
        man.render_subcommands_section(&mut page).unwrap();
    }
    let mut page = String::from_utf8(page).unwrap();

    let help = command.get_after_long_help().or(command.get_after_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let (exits, notes): (Vec<&str>, Vec<&str>) = help
        .split_terminator("\n\n")
        .partition(|paragraph| paragraph.starts_with(EXIT_STATUS));
    let mut exits: Vec<&str> = exits
        .into_iter()
        .map(|paragraph| paragraph[EXIT_STATUS.len()..].trim_start_matches('\n'))
        .collect();
    if !is_program {
        exits.push("iommu-tool(1) lists those of all commands.");
    }
    page += &section("NOTES", &notes);
    page += &section("EXIT STATUS", &exits);
    if !is_program {
        page += &see_also(command.get_name(), helps);
    }
    // Each piece begins with it.
    let preamble = Roff::new().render();
    format!("{preamble}{}", page.replace(&preamble, ""))
}

/// What the paragraph of the help begins with that is a section of the manual page.
const EXIT_STATUS: &str = "Exit status:";

/// Paragraphs; an indented line of one is a term, and behind two spaces or more what it means.
fn section(title: &str, paragraphs: &[&str]) -> String {
    let mut roff = Roff::new();
    if !paragraphs.is_empty() {
        roff.control("SH", [title]);
    }
    for paragraph in paragraphs {
        roff.control("PP", []);
        for line in paragraph.lines() {
            let row = line.strip_prefix("  ").and_then(|row| row.split_once("  "));
            match row {
                Some((term, meaning)) => roff
                    .control("TP", [])
                    .text([bold(term)])
                    .text([roman(meaning.trim_start())]),
                None => roff.text([roman(line.trim_start())]),
            };
        }
    }
    roff.render()
}

/// The commands that the help of one speaks of, and those whose help speaks of it.
fn see_also(name: &str, helps: &[(&str, String)]) -> String {
    let speaks = |help: &str, of: &str| {
        let words: Vec<&str> = help
            .split(|letter: char| !letter.is_alphanumeric() && letter != '-')
            .filter(|word| !word.is_empty() && !word.starts_with('-'))
            .collect();
        words.windows(2).any(|pair| pair == ["iommu-tool", of])
    };
    let own = helps.iter().find(|(other, _)| *other == name).unwrap();
    let mut pages = vec!["iommu-tool(1)".to_owned()];
    for (other, help) in helps.iter().filter(|other| *other != own) {
        if speaks(&own.1, other) || speaks(help, name) {
            pages.push(format!("iommu-tool-{other}(1)"));
        }
    }
    section("SEE ALSO", &[&pages.join(", ")])
}

#[test]
fn man_pages_are_current() {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let help = |command: &Command| command.clone().render_long_help().to_string();
    let helps: Vec<(&str, String)> = program
        .get_subcommands()
        .map(|command| (command.get_name(), help(command)))
        .collect();
    assert_folder_is("man", |folder| {
        for command in program.get_subcommands().chain([&program]) {
            let name = page_name(command);
            fs::write(folder.join(format!("{name}.1")), page(command, &helps)).unwrap();
        }
    });
}

#[test]
fn completions_are_current() {
    assert_folder_is("completions", |folder| {
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            clap_complete::generate_to(shell, &mut Cli::command(), "iommu-tool", folder).unwrap();
        }
    });
}

#[test]
fn definitions_hold_together() {
    Cli::command().debug_assert();
}
