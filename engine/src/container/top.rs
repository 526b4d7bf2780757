//! `docker top`: the container's processes as `ps` shows them, read from /proc without running anything.

use std::collections::HashMap;

use crate::container::{ContainerHandle, TopTable};
use crate::error::{Error, Result};

/// Processes that are shown.
const PROCESSES_MAX: usize = 32_768;
/// Clock ticks a second, as the kernel shows them to programs on Linux.
const TICKS: u64 = 100;
/// Bytes of a page, in KiB.
const PAGE_KIB: u64 = 4;

const FULL: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
const BSD: [&str; 11] = ["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"];

/// What is shown of a process: the keyword and title of each column.
type Columns = Vec<(String, String)>;

/// The table in the format that `ps_args` asks for; empty is `-ef`.
pub(crate) async fn table(container: &ContainerHandle, ps_args: &str) -> Result<TopTable> {
    let columns = columns(ps_args)?;
    let pids = container.cell.shim()?.pids(container.id()).await?;
    let host = Host::read();
    let rows = pids.into_iter().take(PROCESSES_MAX).filter_map(Process::read);
    let processes = rows.map(|p| columns.iter().map(|(key, _)| p.column(key, &host)).collect()).collect();
    Ok(TopTable { titles: columns.into_iter().map(|(_, title)| title).collect(), processes })
}

/// PURE. The columns of a `ps` command line.
fn columns(ps_args: &str) -> Result<Columns> {
    let fixed = |titles: &[&str]| titles.iter().map(|t| (t.to_lowercase(), (*t).to_owned())).collect::<Columns>();
    let mut words = ps_args.split_ascii_whitespace().peekable();
    let mut chosen: Columns = Vec::new();
    let mut base = FULL.as_slice();
    while let Some(word) = words.next() {
        let list = ["-o", "-eo", "-Ao", "--format=", "o", "axo"].iter().find_map(|option| word.strip_prefix(option));
        if let Some(list) = list {
            let list = if list.is_empty() { words.next().unwrap_or_default() } else { list };
            for item in list.split(',') {
                chosen.push(named_column(item)?);
            }
        } else {
            base = match word.trim_start_matches('-') {
                "aux" | "auxww" | "axu" | "u" if !word.starts_with('-') => BSD.as_slice(),
                "ef" | "eF" | "f" | "A" | "e" | "w" | "ww" => FULL.as_slice(),
                _ => return Err(Error::invalid(format!("ps argument {word:?} is not supported: use -ef, aux or -o"))),
            };
        }
    }
    if chosen.is_empty() {
        return Ok(fixed(base));
    }
    // The caller finds its processes by pid, as docker insists.
    if !chosen.iter().any(|(key, _)| key == "pid") {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    }
    Ok(chosen)
}

fn named_column(item: &str) -> Result<(String, String)> {
    let (name, title) = item.split_once('=').map_or((item, None), |(name, title)| (name, Some(title)));
    let (key, default) = match name {
        "pid" => ("pid", "PID"),
        "ppid" => ("ppid", "PPID"),
        "user" | "euser" | "uname" => ("user", "USER"),
        "uid" | "euid" => ("uidn", "UID"),
        "gid" | "egid" => ("gid", "GID"),
        "comm" | "ucmd" | "ucomm" => ("comm", "COMMAND"),
        "cmd" => ("cmd", "CMD"),
        "args" | "command" => ("cmd", "COMMAND"),
        "vsz" | "vsize" => ("vsz", "VSZ"),
        "rss" | "rssize" => ("rss", "RSS"),
        "tty" | "tt" | "tname" => ("tty", "TTY"),
        "stat" => ("stat", "STAT"),
        "state" | "s" => ("state", "S"),
        "time" | "cputime" => ("time", "TIME"),
        "etime" => ("etime", "ELAPSED"),
        "stime" | "start" | "start_time" => ("stime", "STIME"),
        "%cpu" | "pcpu" => ("%cpu", "%CPU"),
        "%mem" | "pmem" => ("%mem", "%MEM"),
        "c" => ("c", "C"),
        "nlwp" | "thcount" => ("nlwp", "NLWP"),
        "ni" | "nice" => ("ni", "NI"),
        "pri" => ("pri", "PRI"),
        _ => return Err(Error::invalid(format!("ps: unknown column {name:?}"))),
    };
    Ok((key.to_owned(), title.unwrap_or(default).to_owned()))
}

/// What is the same for all rows.
struct Host {
    users: HashMap<u32, String>,
    uptime_s: u64,
    now_s: i64,
    memory_kib: u64,
}

impl Host {
    fn read() -> Self {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((fields.nth(1)?.parse().ok()?, name))
        });
        let first_number = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_ascii_whitespace().find_map(|word| word.split('.').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Self {
            users: users.collect(),
            uptime_s: first_number("/proc/uptime"),
            now_s: jiff::Timestamp::now().as_second(),
            memory_kib: first_number("/proc/meminfo"),
        }
    }
}

/// One process.
struct Process {
    pid: u32,
    uid: u32,
    gid: u32,
    comm: String,
    cmd: String,
    /// Fields of /proc/pid/stat from `state` (3 in proc(5)) on.
    stat: Vec<String>,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let dir = format!("/proc/{pid}");
        let meta = std::fs::metadata(&dir).ok()?;
        let text = String::from_utf8_lossy(&std::fs::read(format!("{dir}/stat")).ok()?).into_owned();
        let (comm, stat) = parse_stat(&text)?;
        let line = std::fs::read(format!("{dir}/cmdline")).unwrap_or_default();
        let args: Vec<String> = line
            .split(|b| *b == 0)
            .filter(|arg| !arg.is_empty())
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect();
        let cmd = if args.is_empty() { format!("[{comm}]") } else { args.join(" ") };
        Some(Self { pid, uid: meta.uid(), gid: meta.gid(), comm, cmd, stat })
    }

    /// A field of /proc/pid/stat by its number in proc(5).
    fn number(&self, field: usize) -> u64 {
        self.stat.get(field - 3).and_then(|text| text.parse::<i64>().ok()).map_or(0, |n| u64::try_from(n).unwrap_or(0))
    }

    fn cpu_s(&self) -> u64 {
        (self.number(14) + self.number(15)) / TICKS
    }

    fn age_s(&self, host: &Host) -> u64 {
        host.uptime_s.saturating_sub(self.number(22) / TICKS)
    }

    fn column(&self, key: &str, host: &Host) -> String {
        match key {
            "pid" => self.pid.to_string(),
            "ppid" => self.number(4).to_string(),
            "uid" | "user" => host.users.get(&self.uid).cloned().unwrap_or_else(|| self.uid.to_string()),
            "uidn" => self.uid.to_string(),
            "gid" => self.gid.to_string(),
            "comm" => self.comm.clone(),
            "cmd" | "command" => self.cmd.clone(),
            "vsz" => (self.number(23) / 1024).to_string(),
            "rss" => (self.number(24) * PAGE_KIB).to_string(),
            "tty" => terminal(self.number(7)),
            "stat" | "state" => self.stat.first().cloned().unwrap_or_default(),
            "time" => clock(self.cpu_s()),
            "etime" => clock(self.age_s(host)),
            "stime" | "start" => start(host.now_s.saturating_sub_unsigned(self.age_s(host)), host.now_s),
            "%cpu" => format!("{:.1}", percent(self.cpu_s(), self.age_s(host))),
            "%mem" => format!("{:.1}", percent(self.number(24) * PAGE_KIB, host.memory_kib)),
            "c" => format!("{:.0}", percent(self.cpu_s(), self.age_s(host)).floor()),
            "nlwp" => self.number(20).to_string(),
            "ni" => self.stat.get(16).cloned().unwrap_or_default(),
            "pri" => self.number(18).to_string(),
            _ => "-".to_owned(),
        }
    }
}

/// PURE. The name in parentheses (which may hold anything) and the fields after it.
fn parse_stat(text: &str) -> Option<(String, Vec<String>)> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, comm) = before.split_once('(')?;
    Some((comm.to_owned(), after.split_ascii_whitespace().map(String::from).collect()))
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// The name of a terminal by its device number; `?` for none.
fn terminal(device: u64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match (device, major) {
        (0, _) => "?".to_owned(),
        (_, 136..=143) => format!("pts/{}", (major - 136) * 256 + minor),
        (_, 4) => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The time of day of a start today, else month and day; in UTC.
fn start(at_s: i64, now_s: i64) -> String {
    let Ok(at) = jiff::Timestamp::from_second(at_s) else { return "?".to_owned() };
    let format = if now_s - at_s < 24 * 3600 { "%H:%M" } else { "%b%d" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(ps_args: &str) -> Vec<String> {
        columns(ps_args).unwrap().into_iter().map(|(_, title)| title).collect()
    }

    #[test]
    fn formats_are_those_of_ps() {
        assert_eq!(titles(""), FULL);
        assert_eq!(titles("-ef"), FULL);
        assert_eq!(titles("aux"), BSD);
        assert_eq!(titles("-o pid,comm"), ["PID", "COMMAND"]);
        assert_eq!(titles("-eo pid=P,args").len(), 2);
        assert!(columns("-o comm").unwrap_err().to_string().contains("PID field"));
        assert!(columns("-o pid,bogus").is_err());
        assert!(columns("-Z").is_err());
    }

    #[test]
    fn a_name_with_parentheses_is_taken_whole() {
        let (comm, stat) = parse_stat("12 (a) b) S 1 12 12 34816 ...").unwrap();
        assert_eq!((comm.as_str(), stat[0].as_str(), stat[1].as_str()), ("a) b", "S", "1"));
        assert_eq!(terminal(34816), "pts/0");
        assert_eq!(terminal(0), "?");
    }
}
