//! Calls every function of WASI, in search of one that reaches the machine.

use wasip2::cli::{environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::{preopens, types as files};
use wasip2::io::{poll, streams};
use wasip2::random::{insecure, insecure_seed, random};
use wasip2::sockets::{instance_network, ip_name_lookup, network, tcp, tcp_create_socket, udp, udp_create_socket};

use crate::attack::{Attack, Emission, texts};
use crate::bindings::dflow::operator::types::{Batch, Failure};

pub(crate) struct Wasi;

impl Attack for Wasi {
    fn name(&self) -> &'static str {
        "wasi"
    }

    fn always(&self) -> bool {
        true
    }

    /// Each row names a function; its result is what the function gave.
    fn process(&self, _how: &str, batch: &Batch) -> Result<(), Failure> {
        let found: Vec<_> = texts(batch).map(|name| call(&String::from_utf8_lossy(name))).collect();
        Emission::of(&found.iter().map(String::as_bytes).collect::<Vec<_>>()).send();
        Ok(())
    }
}

/// A handle that nobody gave us.
const FORGED: u32 = 1;

fn call(name: &str) -> String {
    let day = 86_400_000_000_000;
    match name {
        "cli/environment.get-environment" => format!("{:?}", environment::get_environment()),
        "cli/environment.get-arguments" => format!("{:?}", environment::get_arguments()),
        "cli/environment.initial-cwd" => format!("{:?}", environment::initial_cwd()),
        "cli/exit.exit" => {
            exit::exit(Ok(()));
            String::new()
        }
        "cli/exit.exit-with-code" => {
            exit::exit_with_code(0);
            String::new()
        }
        "cli/terminal-stdin.get-terminal-stdin" => is_there(terminal_stdin::get_terminal_stdin()),
        "cli/terminal-stdout.get-terminal-stdout" => is_there(terminal_stdout::get_terminal_stdout()),
        "cli/terminal-stderr.get-terminal-stderr" => is_there(terminal_stderr::get_terminal_stderr()),
        "cli/stdin: read" => format!("{:?}", stdin::get_stdin().read(100)),
        "cli/stdin: blocking-read" => format!("{:?}", stdin::get_stdin().blocking_read(100)),
        "cli/stdin: skip" => format!("{:?}", stdin::get_stdin().skip(100)),
        "cli/stdin: blocking-skip" => format!("{:?}", stdin::get_stdin().blocking_skip(100)),
        "cli/stdin: subscribe" => {
            let stdin = stdin::get_stdin();
            stdin.subscribe().block();
            "came back".to_owned()
        }
        "cli/stdout: write" => written(&stdout::get_stdout(), b"to standard output\n"),
        "cli/stderr: write" => written(&stderr::get_stderr(), b"to standard error\n"),
        "cli/stdout: write-zeroes" => {
            let stream = stdout::get_stdout();
            format!("{:?} {:?}", stream.check_write().map(|room| room > 0), stream.write_zeroes(3))
        }
        "cli/stdout: blocking-write-zeroes-and-flush" => {
            format!("{:?}", stdout::get_stdout().blocking_write_zeroes_and_flush(3))
        }
        "cli/stdout: splice" => format!("{:?}", stdout::get_stdout().splice(&stdin::get_stdin(), 100)),
        "cli/stdout: blocking-splice" => {
            format!("{:?}", stdout::get_stdout().blocking_splice(&stdin::get_stdin(), 100))
        }
        "cli/stdout: flush" => {
            let stream = stdout::get_stdout();
            format!("{:?} {:?}", stream.flush(), stream.blocking_flush())
        }
        "clocks/monotonic-clock.now" => format!("{} {}", monotonic_clock::now(), monotonic_clock::now()),
        "clocks/monotonic-clock.resolution" => format!("{}", monotonic_clock::resolution()),
        "clocks/monotonic-clock.subscribe-duration, a day" => {
            monotonic_clock::subscribe_duration(day).block();
            format!("it is {}", monotonic_clock::now())
        }
        "clocks/monotonic-clock.subscribe-instant, for ever" => {
            monotonic_clock::subscribe_instant(u64::MAX).block();
            format!("it is {}", monotonic_clock::now())
        }
        // How often one can ask until a moment has passed is a clock, too.
        "clocks/monotonic-clock.subscribe-duration, asked until it is ready" => {
            let soon = monotonic_clock::subscribe_duration(20_000_000);
            let asked = (0u64..).find(|_| soon.ready());
            format!("asked {asked:?} times")
        }
        "clocks/wall-clock.now" => format!("{:?} {:?}", wall_clock::now(), wall_clock::now()),
        "clocks/wall-clock.resolution" => format!("{:?}", wall_clock::resolution()),
        "filesystem/preopens.get-directories" => {
            format!("{:?}", preopens::get_directories().iter().map(|(_, path)| path).collect::<Vec<_>>())
        }
        "filesystem/types.descriptor, forged" => {
            // SAFETY: a lie.
            let folder = unsafe { files::Descriptor::from_handle(FORGED) };
            let flags = files::DescriptorFlags::READ;
            is_there(folder.open_at(files::PathFlags::empty(), "/etc/passwd", files::OpenFlags::empty(), flags).ok())
        }
        "io/poll.poll" => {
            let never = monotonic_clock::subscribe_duration(u64::MAX);
            let soon = monotonic_clock::subscribe_duration(0);
            format!("{:?}", poll::poll(&[&never, &soon]))
        }
        "io/poll.poll of nothing" => format!("{:?}", poll::poll(&[])),
        "random/random.get-random-bytes" => format!("{:02x?}", random::get_random_bytes(8)),
        "random/random.get-random-bytes, all there are" => {
            format!("{} bytes", random::get_random_bytes(u64::MAX).len())
        }
        "random/random.get-random-bytes, thirty megabytes" => {
            format!("{} bytes", random::get_random_bytes(30 << 20).len())
        }
        "random/random.get-random-u64" => format!("{:x}", random::get_random_u64()),
        "random/insecure.get-insecure-random-bytes" => format!("{:02x?}", insecure::get_insecure_random_bytes(8)),
        "random/insecure.get-insecure-random-u64" => format!("{:x}", insecure::get_insecure_random_u64()),
        "random/insecure-seed.insecure-seed" => format!("{:x?}", insecure_seed::insecure_seed()),
        "sockets/ip-name-lookup.resolve-addresses" => {
            let found = ip_name_lookup::resolve_addresses(&instance_network::instance_network(), "localhost");
            found.map_or_else(|e| format!("{e:?}"), |found| format!("{:?}", found.resolve_next_address()))
        }
        "sockets/ip-name-lookup.resolve-addresses, an address" => {
            let found = ip_name_lookup::resolve_addresses(&instance_network::instance_network(), "127.0.0.1");
            found.map_or_else(|e| format!("{e:?}"), |found| format!("{:?}", found.resolve_next_address()))
        }
        "sockets/tcp-create-socket.create-tcp-socket" => match tcp_create_socket::create_tcp_socket(IPV4) {
            Err(error) => format!("{error:?}"),
            Ok(socket) => connect(&socket),
        },
        "sockets/udp-create-socket.create-udp-socket" => match udp_create_socket::create_udp_socket(IPV4) {
            Err(error) => format!("{error:?}"),
            Ok(socket) => send(&socket),
        },
        "sockets/tcp.tcp-socket, forged" => {
            // SAFETY: a lie.
            connect(&unsafe { tcp::TcpSocket::from_handle(FORGED) })
        }
        "a million resources" => {
            for _ in 0..1_000_000 {
                std::mem::forget(monotonic_clock::subscribe_duration(day));
            }
            "a million were given".to_owned()
        }
        "a million standard outputs" => {
            for _ in 0..1_000_000 {
                std::mem::forget(stdout::get_stdout());
            }
            "a million were given".to_owned()
        }
        "a write without asking" => {
            let stream = stdout::get_stdout();
            format!("{:?}", stream.write(b"unasked"))
        }
        _ => "there is no such function".to_owned(),
    }
}

fn is_there<T>(found: Option<T>) -> String {
    if found.is_some() { "there is one" } else { "none" }.to_owned()
}

fn written(stream: &streams::OutputStream, words: &[u8]) -> String {
    stream.subscribe().block();
    let room = stream.check_write();
    format!("{} {:?}", room.is_ok_and(|room| room >= words.len() as u64), stream.write(words))
}

const IPV4: network::IpAddressFamily = network::IpAddressFamily::Ipv4;
const HERE: network::IpSocketAddress =
    network::IpSocketAddress::Ipv4(network::Ipv4SocketAddress { port: 80, address: (127, 0, 0, 1) });

fn connect(socket: &tcp::TcpSocket) -> String {
    let network = instance_network::instance_network();
    let started = socket.start_connect(&network, HERE);
    format!("{started:?} {}", is_there(socket.finish_connect().ok()))
}

fn send(socket: &udp::UdpSocket) -> String {
    let bound = socket.start_bind(&instance_network::instance_network(), HERE);
    format!("{bound:?} {}", is_there(socket.stream(Some(HERE)).ok()))
}
