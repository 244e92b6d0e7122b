//! Clients and a holder over real sockets, with an address space of software below.

mod files;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::fakes::{BROKEN, FakeSpace, SLOW, STUBBORN};
use super::protocol::{
    Answer, FileSource, LARGEST_PIECE, LARGEST_REQUEST, MapRequest, MappingInfo, Pages, Request,
    Selection,
};
use super::server::{End, Server, Signals};
use super::{Bytes, Client, Folder, Holding, SessionError};
use crate::iommu::{AddressSpace, DmaBuffer, DmaMapping, PageKind, Part};
use crate::types::{ExitClass, GroupId, Iova, IovaRange, Protection, Size};

const GROUP: GroupId = GroupId(5);

/// A holder that ends with its last mapping.
struct Holder {
    space: Arc<FakeSpace>,
    folder: Folder,
    thread: JoinHandle<End>,
    _root: tempfile::TempDir,
}

impl Holder {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path().join("sockets"));
        let claim = folder.claim(&[GROUP]).unwrap();
        let space = Arc::new(FakeSpace::default());
        let of_holder = space.clone();
        let thread = thread::spawn(move || {
            let holding = Holding::new(of_holder, &[]).unwrap();
            let signals = Signals::block().unwrap();
            let server = Server::new(holding, claim, signals, true).unwrap();
            server.run().unwrap()
        });
        Self {
            space,
            folder,
            thread,
            _root: root,
        }
    }

    fn client(&self) -> Client {
        Client::in_folder(&self.folder, GROUP).unwrap().unwrap()
    }

    /// A connection that may say anything, after the greeting.
    fn stranger(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.folder.socket(GROUP)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut hello = String::new();
        stream.read_line(&mut hello).unwrap();
        assert!(
            hello.starts_with(r#"{"version":1,"hello":{"pid":"#),
            "{hello}"
        );
        stream
    }

    /// Waits for the end, which comes as nothing is mapped and nobody is connected.
    fn end(self) {
        assert_eq!(self.thread.join().unwrap(), End::Unmapped);
        assert_eq!(self.space.live(), []);
        assert!(!self.folder.socket(GROUP).exists());
    }
}

fn request(size: u64) -> MapRequest {
    MapRequest {
        size,
        iova: None,
        pages: Pages::Base,
        threads: None,
        protection: Protection::ReadWrite,
        name: None,
        file: None,
    }
}

fn at(iova: u64, size: u64) -> MapRequest {
    MapRequest {
        iova: Some(Iova(iova)),
        ..request(size)
    }
}

fn map(client: &mut Client, request: MapRequest) -> Result<MappingInfo, SessionError> {
    match client.ask(Request::Map(request), None)? {
        Answer::Mapped(info) => Ok(info),
        other => panic!("{other:?}"),
    }
}

fn unmap(client: &mut Client, selection: Selection) -> Result<(usize, usize), SessionError> {
    match client.ask(Request::Unmap(selection), None)? {
        Answer::Unmapped { count, left, .. } => Ok((count, left)),
        other => panic!("{other:?}"),
    }
}

fn read(client: &mut Client, iova: u64, size: usize) -> Result<Vec<u8>, SessionError> {
    let iova = Iova(iova);
    match client.ask(Request::Read { iova, size }, None)? {
        Answer::Read { data } => Ok(data.0),
        other => panic!("{other:?}"),
    }
}

fn write(client: &mut Client, iova: u64, bytes: &[u8]) -> Result<(), SessionError> {
    let (iova, data) = (Iova(iova), Bytes(bytes.to_vec()));
    client.ask(Request::Write { iova, data }, None).map(drop)
}

/// The mapping that an IOVA is in, and what this process, which is the holder's, has at the virtual address.
fn locate(client: &mut Client, iova: u64) -> Result<(Iova, u8), SessionError> {
    let iova = Iova(iova);
    match client.ask(Request::Locate { iova }, None)? {
        Answer::Located(located) => {
            let mut byte = [0];
            let memory = File::open("/proc/self/mem").unwrap();
            memory.read_exact_at(&mut byte, located.address).unwrap();
            Ok((located.mapping.iova, byte[0]))
        }
        other => panic!("{other:?}"),
    }
}

/// The message of an error that the user's request led to.
fn usage<T>(result: Result<T, SessionError>) -> String {
    let Err(error) = result else {
        panic!("this should be refused")
    };
    assert_eq!(error.class(), ExitClass::Usage, "{error}");
    error.to_string()
}

/// What comes before the connection ends.
fn last_words(mut stranger: BufReader<UnixStream>) -> String {
    let mut words = String::new();
    stranger.read_to_string(&mut words).unwrap();
    words
}

#[test]
fn a_holder_tells_where_it_has_the_memory_itself() {
    let holder = Holder::start();
    let mut client = holder.client();
    map(&mut client, at(0x10_0000, 0x2000)).unwrap();
    write(&mut client, 0x10_1234, &[0x5a]).unwrap();

    let found = locate(&mut client, 0x10_1234).unwrap();

    assert_eq!(found, (Iova(0x10_0000), 0x5a));
    let nothing = usage(locate(&mut client, 0x10_2000));
    assert!(nothing.contains("nothing is mapped"), "{nothing}");
    unmap(&mut client, Selection::All).unwrap();
    drop(client);
    holder.end();
}

#[test]
fn memory_is_mapped_written_read_and_unmapped() {
    let holder = Holder::start();
    let mut client = holder.client();
    let ring = MapRequest {
        name: Some("ring".to_owned()),
        ..at(0x10_0000, 0x2000)
    };
    map(&mut client, ring.clone()).unwrap();
    map(&mut client, at(0x10_2000, 0x1000)).unwrap();
    write(&mut client, 0x10_1ffe, b"both").unwrap();
    assert_eq!(read(&mut client, 0x10_1ffd, 6).unwrap(), b"\0both\0");

    let taken = MapRequest { iova: None, ..ring };
    assert!(usage(map(&mut client, taken)).contains("'ring' is taken"));
    assert!(
        usage(map(&mut client, at(0x10_0000, 0x1000))).contains("overlaps the mapping 0x100000")
    );
    assert!(usage(read(&mut client, 0x10_2fff, 2)).contains("only a part"));
    assert!(usage(write(&mut client, 0, b"x")).contains("nothing is mapped"));
    assert!(usage(read(&mut client, 0x10_0000, LARGEST_PIECE + 1)).contains("more than"));

    let named = Selection::Name("ring".to_owned());
    assert_eq!(unmap(&mut client, named).unwrap(), (1, 1));
    assert_eq!(unmap(&mut client, Selection::All).unwrap(), (1, 0));
    client.wait_for_end().unwrap();
    holder.end();
}

#[test]
fn sizes_and_addresses_are_multiples_of_the_page() {
    let holder = Holder::start();
    let mut client = holder.client();
    let message = usage(map(&mut client, request(5000)));
    assert!(message.contains("the nearest are 4K and 8K"), "{message}");
    for nothing in [request(0), at(0x10_0000, 0)] {
        assert!(usage(map(&mut client, nothing)).contains("maps nothing"));
    }
    let message = usage(map(&mut client, request(100)));
    assert!(message.contains("the nearest are 4K"), "{message}");
    let message = usage(map(&mut client, at(0x10_0800, 4096)));
    assert!(
        message.contains("the nearest are 0x100000 and 0x101000"),
        "{message}"
    );
    let message = usage(map(&mut client, at(1 << 50, 4096)));
    assert!(message.contains("not within the usable IOVAs"), "{message}");
    drop(client);
    holder.end();
}

#[test]
fn rubbish_is_answered_and_harms_no_one() {
    let holder = Holder::start();
    let mut bystander = holder.client();
    map(&mut bystander, at(0x10_0000, 0x1000)).unwrap();
    let long = format!(
        "{{\"version\":1,\"pad\":\"{}\"}}\n",
        "x".repeat(LARGEST_REQUEST)
    );
    for (rubbish, answer) in [
        ("rubbish\n", "this is no request"),
        ("\n", "this is no request"),
        ("{\"version\":1}\n", "this is no request"),
        ("{\"version\":2,\"request\":\"newer\"}\n", "not 2"),
        (
            "{\"version\":1,\"request\":{\"mappings\":{\"from\":\"0x0\",\"more\":1}}}\n",
            "this is no request",
        ),
        (
            "{\"version\":1,\"request\":{\"mappings\":{\"from\":\"0x0\"}}}\n{\"ver",
            "before the last one was answered",
        ),
        (&long, "at most"),
        (&"[".repeat(LARGEST_REQUEST), "at most"),
    ] {
        let mut stranger = holder.stranger();
        // The holder may close before it has taken all of it.
        let _ = stranger.get_mut().write_all(rubbish.as_bytes());
        let words = {
            let mut words = String::new();
            let _ = stranger.read_line(&mut words);
            words
        };
        let start: String = rubbish.chars().take(60).collect();
        assert!(words.contains(answer), "{start}: {words}");
        assert!(words.contains("\"error\""), "{start}: {words}");
    }
    assert_eq!(unmap(&mut bystander, Selection::All).unwrap(), (1, 0));
    drop(bystander);
    holder.end();
}

#[test]
fn a_request_may_come_in_pieces() {
    let holder = Holder::start();
    let mut stranger = holder.stranger();
    for byte in b"{\"version\":1,\"request\":{\"mappings\":{\"from\":\"0x0\"}}}\n" {
        stranger.get_mut().write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stranger.read_line(&mut answer).unwrap();
    assert_eq!(
        answer,
        "{\"version\":1,\"answer\":{\"mappings\":{\"mappings\":[],\"next\":null}}}\n"
    );
    drop(stranger);
    holder.end();
}

#[test]
fn a_client_that_stops_in_the_middle_keeps_no_one_waiting() {
    let holder = Holder::start();
    let mut stuck = holder.stranger();
    stuck.get_mut().write_all(b"{\"version\":1,").unwrap();
    let mut client = holder.client();
    map(&mut client, at(0x10_0000, 0x1000)).unwrap();
    unmap(&mut client, Selection::All).unwrap();
    stuck.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(last_words(stuck), "");
    drop(client);
    holder.end();
}

#[test]
fn a_client_that_takes_no_answers_keeps_no_one_waiting() {
    let holder = Holder::start();
    let mut client = holder.client();
    let length = 0x1000;
    for index in 0..1000 {
        map(&mut client, at(0x10_0000 + index * length, length)).unwrap();
    }
    // Each answer is larger than what a socket takes by itself.
    let deaf: Vec<_> = (0..3)
        .map(|_| {
            let mut stranger = holder.stranger();
            let request = b"{\"version\":1,\"request\":{\"mappings\":{\"from\":\"0x0\"}}}\n";
            stranger.get_mut().write_all(request).unwrap();
            stranger
        })
        .collect();
    assert_eq!(client.mappings(Iova(0), |_| true).unwrap().len(), 1000);
    drop(deaf);
    assert_eq!(unmap(&mut client, Selection::All).unwrap(), (1000, 0));
    drop(client);
    holder.end();
}

#[test]
fn a_listing_that_comes_to_no_end_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::at(root.path().join("sockets"));
    let claim = folder.claim(&[GROUP]).unwrap();
    let stuck = thread::spawn(move || {
        let listener = claim.listeners().next().unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut stream = listener.accept().unwrap().0;
        let hello = "{\"version\":1,\"hello\":{\"pid\":1,\"uid\":0,\"since\":0,\"backend\":\"type1\",\"devices\":[],\"until_unmapped\":true}}\n";
        stream.write_all(hello.as_bytes()).unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        let answer =
            "{\"version\":1,\"answer\":{\"mappings\":{\"mappings\":[],\"next\":\"0x1000\"}}}\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let mut client = Client::in_folder(&folder, GROUP).unwrap().unwrap();
    let error = client.mappings(Iova(0x1000), |_| true).unwrap_err();
    assert!(error.to_string().contains("does not understand"), "{error}");
    stuck.join().unwrap();
}

#[test]
fn a_long_map_keeps_no_one_waiting() {
    let holder = Holder::start();
    let mut slow = holder.client();
    let large = at(SLOW.0, 4 << 20);
    let waiting = thread::spawn(move || (map(&mut slow, large), slow));
    holder.space.wait_for_slow_map();

    let mut quick = holder.client();
    map(&mut quick, at(0x10_0000, 0x1000)).unwrap();
    assert_eq!(quick.mappings(Iova(0), |_| true).unwrap().len(), 1);
    assert!(usage(unmap(&mut quick, Selection::At(SLOW))).contains("nothing is mapped"));
    assert!(usage(map(&mut quick, at(SLOW.0, 4096))).contains("in use for a moment"));

    holder.space.open_gate();
    let (mapped, mut slow) = waiting.join().unwrap();
    assert_eq!(mapped.unwrap().iova, SLOW);
    assert_eq!(unmap(&mut slow, Selection::All).unwrap(), (2, 0));
    drop((slow, quick));
    holder.end();
}

#[test]
fn who_waits_for_an_end_that_others_put_off_is_let_go() {
    let holder = Holder::start();
    let mut slow = holder.client();
    let waiting = thread::spawn(move || {
        let mapped = map(&mut slow, at(SLOW.0, 4 << 20));
        (mapped.map(drop), slow)
    });
    holder.space.wait_for_slow_map();

    // Nothing is mapped, and yet the holder goes on: with the work of another, then with another who only is connected.
    let mut quick = holder.client();
    map(&mut quick, at(0x10_0000, 0x1000)).unwrap();
    assert_eq!(unmap(&mut quick, Selection::All).unwrap(), (1, 0));
    quick.wait_for_end().unwrap();
    holder.space.open_gate();
    let (mapped, mut other) = waiting.join().unwrap();
    mapped.unwrap();

    let mut quick = holder.client();
    assert_eq!(unmap(&mut quick, Selection::All).unwrap(), (1, 0));
    quick.wait_for_end().unwrap();
    assert_eq!(other.mappings(Iova(0), |_| true).unwrap(), []);
    drop(other);
    holder.end();
}

#[test]
fn a_mistake_in_the_program_costs_neither_place_nor_name() {
    let holder = Holder::start();
    let mut client = holder.client();
    for size in [0x1000, 4 << 20] {
        let broken = MapRequest {
            name: Some("ring".to_owned()),
            ..at(BROKEN.0, size)
        };
        for _ in 0..2 {
            let error = map(&mut client, broken.clone()).unwrap_err();
            assert_eq!(error.class(), ExitClass::Failed);
            assert!(error.to_string().contains("mistake"), "{error}");
        }
        let beside = MapRequest {
            name: Some("ring".to_owned()),
            ..at(BROKEN.0 - 0x1000, 0x2000)
        };
        map(&mut client, beside).unwrap();
        unmap(&mut client, Selection::All).unwrap();
    }
    drop(client);
    holder.end();
}

#[test]
fn a_map_whose_client_left_is_undone() {
    let holder = Holder::start();
    let mut stranger = holder.stranger();
    let line = format!(
        "{{\"version\":1,\"request\":{{\"map\":{{\"size\":{},\"iova\":\"{SLOW}\",\"protection\":\"read\"}}}}}}\n",
        4 << 20
    );
    stranger.get_mut().write_all(line.as_bytes()).unwrap();
    holder.space.wait_for_slow_map();
    drop(stranger);
    // The holder takes no notice of others before it has noticed that this one is gone.
    drop(holder.client());
    holder.space.open_gate();
    holder.end();
}

#[test]
fn what_cannot_be_unmapped_is_never_given_out_again() {
    let holder = Holder::start();
    let mut client = holder.client();
    map(&mut client, at(STUBBORN.0, 0x1000)).unwrap();
    let error = unmap(&mut client, Selection::All).unwrap_err();
    assert_eq!(error.class(), ExitClass::Failed);
    assert!(error.to_string().contains("EBUSY"), "{error}");
    assert!(usage(map(&mut client, at(STUBBORN.0, 0x1000))).contains("in use"));
    drop(client);
    assert_eq!(holder.thread.join().unwrap(), End::Unmapped);
}

#[test]
fn many_clients_at_once_get_right_answers() {
    let holder = Holder::start();
    // Keeps the holder from ending in between.
    let mut first = holder.client();
    thread::scope(|scope| {
        for number in 0..8 {
            let mut client = holder.client();
            scope.spawn(move || {
                for round in 0..50 {
                    let info = map(&mut client, request(0x1000)).unwrap();
                    let own = [number, round];
                    write(&mut client, info.iova.0, &own).unwrap();
                    assert_eq!(read(&mut client, info.iova.0, 2).unwrap(), own);
                    assert_eq!(unmap(&mut client, Selection::At(info.iova)).unwrap().0, 1);
                }
            });
        }
    });
    assert_eq!(first.mappings(Iova(0), |_| true).unwrap(), []);
    drop(first);
    holder.end();
}

#[test]
fn work_in_a_part_of_the_address_space_touches_nothing_else() {
    let range = |start, size| IovaRange::new(Iova(start), size).unwrap();
    let whole = Arc::new(FakeSpace::default());
    let size = Size::new(0x1000).unwrap();
    let map = |space: &Arc<dyn AddressSpace>, iova| {
        let buffer = Arc::new(DmaBuffer::allocate(size, PageKind::Base).unwrap());
        DmaMapping::new(
            space.clone(),
            &buffer,
            0..0x1000,
            Iova(iova),
            Protection::Read,
        )
    };
    let of_a_user = map(&(whole.clone() as _), 0x1000).unwrap();

    let ranges = vec![range(0x8000, 0x2000), range(0x4000, 0x1000)];
    let part: Arc<dyn AddressSpace> = Arc::new(Part::new(whole.clone(), ranges));
    assert_eq!(
        part.iova_ranges().unwrap(),
        [range(0x4000, 0x1000), range(0x8000, 0x2000)]
    );
    for outside in [0x1000, 0x3000, 0x5000, 0xa000] {
        assert!(map(&part, outside).is_err());
        assert!(part.unmap(range(outside, 0x1000)).is_err());
    }
    let mapped = [map(&part, 0x4000).unwrap(), map(&part, 0x9000).unwrap()];
    assert_eq!(whole.live().len(), 3);
    assert_eq!(part.unmap_all().unwrap(), 0x2000);
    drop(mapped);
    assert_eq!(whole.live(), [range(0x1000, 0x1000)]);
    drop(of_a_user);
}
