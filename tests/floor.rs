//! The floor of `benches/versus`, on both engines: it answers in order, whatever waits for the disk, and a client that
//! does not read for a while misses nothing.

#[path = "../benches/floor/mod.rs"]
mod floor;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use ringkeeper::bench::wire::{self, op};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    floor: floor::FloorArgs,
}

/// Requests of one client; their replies are more than two sockets hold.
const REQUESTS: i32 = 60_000;
/// Every so manyth of them is a write.
const WRITES: i32 = 7;

/// Starts a floor on a thread that ends with the test, and connects to it.
fn connect(engine: &str) -> TcpStream {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("floor-{engine}"));
    let words = ["floor", "--engine", engine, "--port", &port.to_string(), "--file", file.to_str().unwrap()];
    let args = Cli::parse_from(words).floor;
    std::thread::spawn(move || panic!("the floor ended: {:?}", floor::run(&args)));
    // It writes its file before it listens.
    for _ in 0..1_000 {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the floor does not listen");
}

fn read_frame(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

fn answers_in_order(engine: &str) {
    let mut stream = connect(engine);
    let mut greeting = Vec::new();
    wire::connect_request(&mut greeting, 30_000);
    stream.write_all(&greeting).unwrap();
    assert!(wire::int_at(&read_frame(&mut stream), 4) > 0, "a session's timeout");

    let mut requests = Vec::new();
    for xid in 1..=REQUESTS {
        match xid % WRITES {
            0 => wire::set_data(&mut requests, xid, "/a", &[b'x'; 100]),
            _ => wire::read(&mut requests, xid, op::GET_DATA, "/a", false),
        }
    }
    // The floor must not stop reading because nobody reads what it says.
    stream.write_all(&requests).unwrap();
    let mut replies = std::io::BufReader::new(stream);
    for xid in 1..=REQUESTS {
        let reply = read_frame(&mut replies);
        assert_eq!((wire::int_at(&reply, 0), wire::int_at(&reply, 12)), (xid, 0));
        let body = if xid % WRITES == 0 { 68 } else { 4 + 100 + 68 };
        assert_eq!(reply.len(), wire::HEADER_BYTES + body, "request {xid}");
    }
}

#[test]
fn epoll_answers_in_order() {
    answers_in_order("epoll");
}

/// Multishot receive came with Linux 6.0; the server itself needs none of it.
#[test]
fn io_uring_answers_in_order() {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let major: u32 = release.split('.').next().and_then(|number| number.parse().ok()).expect("a kernel's release");
    if major < 6 {
        return eprintln!("not run: the ring's floor needs Linux 6.0, this is {release}");
    }
    answers_in_order("uring");
}
