//! Files that are mapped.

use super::*;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file in memory with these bytes.
fn file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

fn map_file(
    client: &mut Client,
    file: &File,
    request: MapRequest,
    private: bool,
) -> Result<MappingInfo, SessionError> {
    let request = MapRequest {
        file: Some(FileSource {
            path: "test".to_owned(),
            offset: 0,
            private,
        }),
        ..request
    };
    match client.ask(Request::Map(request), Some(file))? {
        Answer::Mapped(info) => Ok(info),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_shared_and_a_copy_is_not() {
    let holder = Holder::start();
    let mut client = holder.client();
    let mut bytes = vec![7; 0x3000];
    let file = file(&bytes);
    map_file(&mut client, &file, at(0x10_0000, 0x3000), false).unwrap();
    map_file(&mut client, &file, at(0x20_0000, 0x3000), true).unwrap();
    write(&mut client, 0x10_0fff, b"shared").unwrap();
    write(&mut client, 0x20_0000, b"own").unwrap();

    let mut seen = Vec::new();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    File::open(path).unwrap().read_to_end(&mut seen).unwrap();
    bytes[0xfff..0x1005].copy_from_slice(b"shared");
    assert!(seen == bytes);
    assert_eq!(read(&mut client, 0x20_0ffe, 4).unwrap(), [7; 4]);
    unmap(&mut client, Selection::All).unwrap();
    drop(client);
    holder.end();
}

#[test]
fn a_file_that_was_made_shorter_is_an_error_and_no_crash() {
    let holder = Holder::start();
    let mut client = holder.client();
    let file = file(&[7; 0x2000]);
    map_file(&mut client, &file, at(0x10_0000, 0x2000), false).unwrap();
    file.set_len(0x1000).unwrap();
    assert_eq!(read(&mut client, 0x10_0fff, 1).unwrap(), [7]);
    for error in [
        read(&mut client, 0x10_0fff, 2).map(drop).unwrap_err(),
        write(&mut client, 0x10_1000, b"x").unwrap_err(),
    ] {
        assert!(error.to_string().contains("was made shorter"), "{error}");
    }
    unmap(&mut client, Selection::All).unwrap();
    drop(client);
    holder.end();
}

#[test]
fn files_that_cannot_be_mapped_are_refused() {
    let holder = Holder::start();
    let mut client = holder.client();
    let short = file(&[7; 0x1fff]);
    let message = usage(map_file(&mut client, &short, request(0x2000), false));
    assert!(
        message.contains("too short: it has 8191 bytes"),
        "{message}"
    );
    let folder = File::open("/").unwrap();
    let message = usage(map_file(&mut client, &folder, request(0x1000), true));
    assert!(message.contains("is a folder"), "{message}");
    let proc = File::open("/proc/self/exe").unwrap();
    let message = usage(map_file(&mut client, &proc, request(0x1000), false));
    assert!(message.contains("--private"), "{message}");

    let of_a_file = MapRequest {
        file: Some(FileSource {
            path: "none".to_owned(),
            offset: 0,
            private: false,
        }),
        ..request(0x1000)
    };
    let message = usage(map(&mut client, of_a_file));
    assert!(message.contains("come together"), "{message}");
    drop(client);
    holder.end();
}

#[test]
fn a_file_to_be_read_only_is_not_written() {
    let holder = Holder::start();
    let mut client = holder.client();
    let file = file(&[7; 0x1000]);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let read_only = File::open(path).unwrap();
    let to_read = MapRequest {
        protection: Protection::Read,
        ..at(0x10_0000, 0x1000)
    };
    map_file(&mut client, &read_only, to_read, false).unwrap();
    assert_eq!(read(&mut client, 0x10_0000, 1).unwrap(), [7]);
    assert!(usage(write(&mut client, 0x10_0000, b"x")).contains("cannot be written"));
    unmap(&mut client, Selection::All).unwrap();
    drop(client);
    holder.end();
}
