// SPDX-License-Identifier: GPL-2.0-or-later

//! A pass with nothing to do changes nothing, as the kernel sees it; what the journal costs a pass
//! that does something, and what a kill leaves that no journal tells of.

use std::fs;

use super::{apply, set};
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

/// Found by a kill at each place: between two steps nothing is under way, and the journal is empty.
#[test]
fn what_a_kill_has_left_of_our_own_files_goes_though_nothing_was_under_way() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "box service status enabled Image demo-db TCPPort 3306 PortMapping none");
    apply(&lab);
    // No process has so high a number.
    let left = ["", "applied/", "written/", "trouble/"]
        .map(|it| lab.root().join(format!("var/lib/wharf/{it}.wharf-99999999.x")));
    for path in &left {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "half").unwrap();
    }

    assert_eq!(lab.wharf(&["plan"]).code, 0);
    assert!(left.iter().all(|path| path.exists()), "a plan changes nothing");
    apply(&lab);

    assert_eq!(left.iter().find(|path| path.exists()), None);
}
