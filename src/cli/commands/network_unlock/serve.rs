//! `fve network-unlock serve`: the process around the server: options, sockets, signals, reloads.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum, ValueHint};
use sd_notify::NotifyState;
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::log::{Format, Log};
use super::{PasswordArgs, PolicyError, not_a_certificate, privileges, read_policy};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::threads::bounded_threads;
use crate::cli::output::keyboard;
use crate::cli::run::Run;
use fve::error::Error;
use fve::network::server::{
    Configuration, Core, KeyFiles, Level, ListenOptions, PolicyAddress, PolicyState, Protocol,
    Rate, Replay, ServedCertificates, Settings, SocketMode,
};
use fve::shown::ShowPath;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Serve the certificates in a directory, as the policy file allows:
    fve network-unlock serve --certificate /etc/fve/server --policy policy.ini
  On a computer where a DHCP server holds the ports:
    fve network-unlock serve --certificate server.pem --mode tap")]
pub(crate) struct ServeArgs {
    /// Certificate with its key in PKCS#12, PEM or DER, or a directory of such files; may be given
    /// several times. SIGHUP reloads them
    #[arg(long = "certificate", value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    certificates: Vec<PathBuf>,

    #[command(flatten)]
    passwords: PasswordArgs,

    /// Refuse to start with a certificate that Windows may object to
    #[arg(long)]
    strict_certificates: bool,

    /// Accept private keys that every user of this computer can read
    #[arg(long)]
    accept_readable_keys: bool,

    /// Policy file (bde-network-unlock.ini): which certificate is served to which addresses. While it
    /// is invalid, no request is answered
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    policy: Option<PathBuf>,

    #[command(flatten)]
    listen: ListenArgs,

    #[command(flatten)]
    behavior: BehaviorArgs,

    /// Change to this user after opening the sockets. Capabilities are given up in any case
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Format of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: Format,
}

#[derive(Debug, Args)]
#[group(skip)]
struct ListenArgs {
    /// Listen on this interface; may be given several times. Default: all that are up
    #[arg(long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,

    /// Answer only DHCPv4 or only DHCPv6
    #[arg(long = "transport", value_name = "TRANSPORT")]
    protocol: Option<ProtocolWord>,

    /// Use UDP sockets, or packet sockets (tap) if a DHCP server on this host holds the ports
    #[arg(long, value_name = "MODE", default_value = "udp")]
    mode: ModeWord,

    /// Share the ports with another server on this host. Works only on a segment without relays
    #[arg(long)]
    share_port: bool,

    /// Number of threads for each socket. Default: one for each core
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Serve counters for Prometheus on this loopback address, such as 127.0.0.1:9547
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[group(skip)]
struct BehaviorArgs {
    /// Requests per second from one client, and how many at once; 0 for no limit
    #[arg(long, value_name = "RATE/BURST", default_value = "2/8", value_parser = rate)]
    rate_source: Rate,

    /// Requests per second from one network (an IPv4 relay, an IPv4 /24, an IPv6 /64), and how many at
    /// once
    #[arg(long, value_name = "RATE/BURST", default_value = "30/400", value_parser = rate)]
    rate_network: Rate,

    /// Requests per second for one certificate, and how many at once
    #[arg(long, value_name = "RATE/BURST", default_value = "50/500", value_parser = rate)]
    rate_certificate: Rate,

    /// Requests per second in all, and how many at once
    #[arg(long, value_name = "RATE/BURST", default_value = "200/1000", value_parser = rate)]
    rate_total: Rate,

    /// What to do about a request that was answered before: log, allow, or refuse:SECONDS
    #[arg(long, value_name = "WHAT", default_value = "log", value_parser = replay)]
    replay: Replay,

    /// Which addresses in a DHCPv4 request the policy must list
    #[arg(long, value_name = "WHICH", default_value = "all")]
    policy_address: PolicyAddressWord,

    /// Refuse IPv6 link-local addresses that are not listed, unlike Windows servers
    #[arg(long)]
    refuse_link_local: bool,

    /// Serve a certificate whose list has only IPv4 subnets to every IPv6 address, and the other way
    /// round
    #[arg(long)]
    per_family_lists: bool,

    /// Also answer requests with the message type DHCPINFORM
    #[arg(long)]
    accept_inform: bool,

    /// Send an empty option 125, for clients that require it
    #[arg(long)]
    reply_option_125: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProtocolWord {
    Dhcp4,
    Dhcp6,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeWord {
    Udp,
    Tap,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PolicyAddressWord {
    All,
    Ciaddr,
    Source,
}

fn rate(text: &str) -> Result<Rate, String> {
    let parsed = match text.split_once('/') {
        Some((rate, burst)) => rate.parse().ok().zip(burst.parse().ok()),
        None => text.parse().ok().map(|rate: f64| (rate, rate.max(1.0))),
    };
    parsed
        .filter(|(rate, burst)| rate.is_finite() && *rate >= 0.0 && *burst >= 1.0_f64)
        .map(|(per_second, burst)| Rate::new(per_second, burst))
        .ok_or_else(|| "not a rate, such as 2/8".to_owned())
}

fn replay(text: &str) -> Result<Replay, String> {
    match text {
        "log" => Ok(Replay::Log),
        "allow" => Ok(Replay::Allow),
        _ => text
            .strip_prefix("refuse:")
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds| Replay::Refuse(Duration::from_secs(seconds)))
            .ok_or_else(|| "log, allow, or refuse:SECONDS".to_owned()),
    }
}

impl BehaviorArgs {
    fn settings(&self) -> Settings {
        Settings::new()
            .accept_inform(self.accept_inform)
            .policy_address(match self.policy_address {
                PolicyAddressWord::All => PolicyAddress::All,
                PolicyAddressWord::Ciaddr => PolicyAddress::Client,
                PolicyAddressWord::Source => PolicyAddress::Source,
            })
            .answer_link_local(!self.refuse_link_local)
            .per_family_lists(self.per_family_lists)
            .reply_option_125(self.reply_option_125)
            .replay(self.replay)
            .per_source(self.rate_source)
            .per_network(self.rate_network)
            .per_certificate(self.rate_certificate)
            .total(self.rate_total)
            .identifier(identifier())
    }
}

/// The server's DHCPv6 identifier, which must not change: a DUID of type 4 (RFC 6355). It is a hash
/// of the machine ID, which machine-id(5) says to keep confidential.
fn identifier() -> Vec<u8> {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(b"fve network-unlock");
    hash.update(machine);
    let hash = hash.finalize();
    let mut identifier = vec![0, 4];
    identifier.extend(hash.iter().take(16));
    identifier
}

impl ListenArgs {
    fn options(&self, inherited: Vec<UdpSocket>) -> ListenOptions {
        ListenOptions::new()
            .interfaces(self.interfaces.clone())
            .protocols(match self.protocol {
                None => vec![Protocol::Dhcp4, Protocol::Dhcp6],
                Some(ProtocolWord::Dhcp4) => vec![Protocol::Dhcp4],
                Some(ProtocolWord::Dhcp6) => vec![Protocol::Dhcp6],
            })
            .mode(match self.mode {
                ModeWord::Udp => SocketMode::Udp,
                ModeWord::Tap => SocketMode::Tap,
            })
            .share_port(self.share_port)
            .inherited(inherited)
            .metrics(self.metrics)
    }

    fn threads(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or(cores, bounded_threads)
    }
}

impl Run for ServeArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &ServeArgs) -> Result<(), Failure> {
    let log = Log::new(args.log);
    // Passwords are read once, before privileges are given up: at a reload their files may be gone or
    // unreadable.
    let files = args
        .passwords
        .key_files(&args.certificates)?
        .accept_readable_keys(args.accept_readable_keys);
    let certificates = ServedCertificates::read(&files).map_err(not_a_certificate)?;
    if args.strict_certificates
        && let Some((served, doubt)) = certificates.doubts(SystemTime::now()).first()
    {
        return Err(Failure::Other {
            status: Status::Refused,
            what: format!("certificate {}: {doubt}", served.certificate.thumbprint()),
            help: Some("start it without --strict-certificates to serve it anyway".to_owned()),
        });
    }
    let policy = policy(args, &log);
    let sockets = args.listen.options(inherited_sockets()?).open()?;
    keyboard::leave_to_others(&[SIGHUP, SIGINT, SIGTERM]);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| Error::io("cannot wait for signals", error))?;
    privileges::drop_all(args.user.as_deref())?;
    log_certificates(&certificates, &log);
    for name in sockets.names() {
        log.message(Level::Info, &format!("listening on {name}"));
    }
    let core = Core::new(
        args.behavior.settings(),
        Configuration::new(certificates, policy),
    );
    let stop = AtomicBool::new(false);
    let threads = args.listen.threads();
    let no_thread = |error| Error::io("cannot start a thread that answers requests", error);
    let result = thread::scope(|scope| {
        let serve = || sockets.serve(&core, threads, &stop, &|event| log.event(event));
        let server = thread::Builder::new().spawn_scoped(scope, serve)?;
        ready(&core);
        control(args, &files, &core, &stop, &mut signals, &log);
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        stop.store(true, Relaxed);
        server.join().unwrap_or_else(|panic| resume_unwind(panic))
    });
    result.map_err(no_thread)?;
    log.end();
    log.message(Level::Info, "ended");
    Ok(())
}

/// The sockets that systemd opened and passed to the process (sd_listen_fds(3)).
fn inherited_sockets() -> Result<Vec<UdpSocket>, Failure> {
    let mut inherited = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..inherited.len() {
        let socket = inherited
            .take_udp_socket(at)
            .map_err(|error| Error::io("an inherited socket is not a UDP socket", error))?;
        sockets.extend(socket);
    }
    Ok(sockets)
}

/// Handles signals until one ends the server, or until the server stopped because of an error. Logs
/// the certificates once a day, so that a warning about one that expires is not overlooked.
fn control(
    args: &ServeArgs,
    files: &KeyFiles,
    core: &Core,
    stop: &AtomicBool,
    signals: &mut Signals,
    log: &Log,
) {
    /// How often to check for signals.
    const TICK: Duration = Duration::from_millis(100);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let mut logged = Instant::now();
    while !stop.load(Relaxed) {
        for signal in signals.pending() {
            if signal != SIGHUP {
                return;
            }
            reload(args, files, core, log);
            logged = Instant::now();
        }
        log.end_period();
        if logged.elapsed() > DAY {
            log_certificates(&core.configuration().certificates, log);
            logged = Instant::now();
        }
        thread::sleep(TICK);
    }
}

/// Reads certificates and policy again. If a certificate cannot be read, the old ones stay, so that a
/// mistake does not stop the server. If the policy cannot be read, no request is answered, because
/// the old one may permit what the new one forbids.
fn reload(args: &ServeArgs, files: &KeyFiles, core: &Core, log: &Log) {
    let reloading = NotifyState::monotonic_usec_now();
    let states = [Ok(NotifyState::Reloading), reloading];
    let states: Vec<_> = states.into_iter().flatten().collect();
    let _ = sd_notify::notify(&states);
    let policy = policy(args, log);
    let policy_is_valid = !matches!(policy, PolicyState::Invalid(_));
    match ServedCertificates::read(files) {
        Ok(certificates) => {
            log_certificates(&certificates, log);
            core.replace(Configuration::new(certificates, policy));
            core.counters().reloaded(policy_is_valid);
            log.message(Level::Info, "certificates and policy were reloaded");
        }
        Err(error) => {
            core.replace_policy(policy);
            core.counters().reloaded(false);
            log.message(
                Level::Error,
                &format!("the old certificates stay in use: {}", error.with_causes()),
            );
        }
    }
    ready(core);
}

/// Tells systemd that the server is ready, and whether it answers requests.
fn ready(core: &Core) {
    let status = match &core.configuration().policy {
        PolicyState::Invalid(why) => format!("answering no request: {why}"),
        _ => "answering".to_owned(),
    };
    // Fails unless systemd started the process, which does not matter.
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Reads the policy file, and logs what is wrong with it.
fn policy(args: &ServeArgs, log: &Log) -> PolicyState {
    let Some(path) = &args.policy else {
        return PolicyState::Unrestricted;
    };
    let why = match read_policy(path) {
        Ok(policy) => {
            for remark in policy.remarks() {
                let text = format!("policy, line {}: {}", remark.line, remark.what);
                log.message(Level::Warning, &text);
            }
            return PolicyState::Valid(policy);
        }
        Err(PolicyError::Unreadable(error)) => error.with_causes().to_string(),
        Err(PolicyError::Invalid(fault)) => {
            format!("the policy file {} is invalid: {fault}", path.shown())
        }
    };
    log.message(
        Level::Error,
        &format!("{why}; no request is answered until it is corrected and reloaded (SIGHUP)"),
    );
    PolicyState::Invalid(why)
}

fn log_certificates(certificates: &ServedCertificates, log: &Log) {
    for served in certificates.iter() {
        log.message(
            Level::Info,
            &format!(
                "certificate {} from {}",
                served.certificate.thumbprint(),
                served.file.shown()
            ),
        );
    }
    for (served, doubt) in certificates.doubts(SystemTime::now()) {
        log.message(
            Level::Warning,
            &format!("certificate {}: {doubt}", served.certificate.thumbprint()),
        );
    }
}
