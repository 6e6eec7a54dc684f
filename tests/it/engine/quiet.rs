// SPDX-License-Identifier: GPL-2.0-or-later

//! A pass with nothing to do changes nothing, as the kernel sees it; and what the journal costs a pass
//! that does something.

use std::fs;

use super::set;
use crate::lab::Lab;

/// Calls that change a file or a directory, or wait for a disk.
const CHANGING: &str = "write,pwrite64,writev,pwritev,ftruncate,truncate,fallocate,rename,renameat,\
    renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,\
    chown,fchown,fchownat,utimensat,fsync,fdatasync,sync_file_range,setxattr,fsetxattr";

/// `wharf apply` under strace; the lines of `calls` about files below the root, with their times.
fn traced(lab: &Lab, calls: &str) -> Vec<String> {
    let file = lab.scratch("trace");
    let (root, host) = (format!("WHARF_ROOT={}", lab.root().display()), lab.docker_host());
    let (host, names) = (format!("DOCKER_HOST={host}"), calls.replace([' ', '\n'], ""));
    let (wharf, to) = (env!("CARGO_BIN_EXE_wharf"), file.display().to_string());
    let only = format!("trace={names}");
    let strace = ["strace", "-f", "-y", "-T", "-e", &only, "-o", &to];
    let argv = [&["env", &root, &host][..], &strace, &[wharf, "apply"]].concat();
    lab.host(&argv).succeeded();
    let root = lab.root().display().to_string();
    let text = fs::read_to_string(file).unwrap();
    let is_ours = |line: &&str| line.contains(&root) && !line.contains(") = -1 ");
    text.lines().filter(is_ours).map(str::to_owned).collect()
}

#[test]
fn a_pass_with_nothing_to_do_changes_no_file() {
    let Some(lab) = Lab::new() else { return };
    let without = "service status enabled Image demo-db TCPPort 3306 PortMapping none";
    for n in 0..8 {
        set(&lab, &format!("box{n} {without}"));
    }
    let made = traced(&lab, CHANGING);
    let synced = made
        .iter()
        .filter(|line| line.contains("/journal>") && line.contains("fdatasync("))
        .filter_map(|line| line.rsplit('<').next()?.trim_end_matches('>').parse::<f64>().ok())
        .collect::<Vec<_>>();
    let (count, took) = (synced.len(), synced.iter().sum::<f64>());
    eprintln!("journal: {count} syncs for 8 containers, {:.2} ms", took * 1000.0);
    // A guard, a network, and two steps for each container; eight go together at best.
    assert!((3..=24).contains(&count), "{count}: {made:#?}");

    let changed = traced(&lab, CHANGING);
    assert!(changed.is_empty(), "{changed:#?}");
}
