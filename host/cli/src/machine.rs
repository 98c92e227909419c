//! How much memory this process may have: the machine's, or less where a container or a service is limited.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is assumed where the system doesn't tell.
const UNKNOWN: u64 = 4 << 30;

/// Bytes of memory that this process may have, of a system whose files are under `root`.
///
/// On Linux the smallest of the machine's memory and the limits of the process's control group and of all groups above it, in
/// both versions of control groups. What isn't there, or says nothing, is no limit.
pub(crate) fn memory(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total(&text));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits(root, line));
    machine.into_iter().chain(limits).min().unwrap_or(UNKNOWN)
}

/// `MemTotal:       24689220 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The limits of a group and of those above it. A line is `0::/path` in version 2, and `4:memory:/path` in version 1.
fn limits(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        names if names.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let mount = root.join(mount);
    let group = PathBuf::from(path.trim_start_matches('/'));
    // In a container the path may be the host's, which isn't there; the group at the mount is the container's then.
    let limit = |group: &Path| fs::read_to_string(mount.join(group).join(file)).ok()?.trim().parse().ok();
    group.ancestors().filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        memory(root.path())
    }

    #[test]
    fn the_smallest_limit_counts() {
        const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       8388608 kB\nMemFree:        1 kB\n");
        const SECOND: (&str, &str) = ("proc/self/cgroup", "0::/a/b\n");
        const FIRST: (&str, &str) = ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/7\n0::/\n");
        for (files, bytes) in [
            (&[][..], UNKNOWN),
            (&[MEMINFO], 8 << 30),
            (&[MEMINFO, SECOND, ("sys/fs/cgroup/a/b/memory.max", "max\n")], 8 << 30),
            (&[MEMINFO, SECOND, ("sys/fs/cgroup/a/b/memory.max", "1048576\n")], 1 << 20),
            (
                &[
                    MEMINFO,
                    SECOND,
                    ("sys/fs/cgroup/a/memory.max", "1048576\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ],
                1 << 20,
            ),
            (&[MEMINFO, SECOND, ("sys/fs/cgroup/memory.max", "2097152\n")], 2 << 20),
            (&[MEMINFO, FIRST, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")], 8 << 30),
            (&[MEMINFO, FIRST, ("sys/fs/cgroup/memory/docker/7/memory.limit_in_bytes", "4096\n")], 4096),
        ] {
            assert_eq!(system(files), bytes, "{files:?}");
        }
    }
}
