// SPDX-License-Identifier: GPL-2.0-or-later

//! What the machine itself is made of.

use procfs::Current as _;

/// The memory that the kernel can use, in bytes; `None` when it does not say.
///
/// Source: `MemTotal` of `proc_meminfo(5)`: what is built in, less what firmware and kernel keep.
pub fn memory_bytes() -> Option<u64> {
    procfs::Meminfo::current().ok().map(|memory| memory.mem_total)
}

/// What the machine calls itself.
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
}

/// The kernel's name for this boot; `None` where it does not tell.
pub fn boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot.trim().to_owned()).filter(|boot| !boot.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_memory_is_that_of_the_kernel_in_bytes() {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kilobytes: u64 = total.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert_eq!(super::memory_bytes(), Some(kilobytes * 1024));
    }
}
