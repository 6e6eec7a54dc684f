// SPDX-License-Identifier: GPL-2.0-or-later

//! How much and how long: sizes, shares of a CPU, times, plain numbers.

use std::time::Duration;

use super::{BadValue, Parsed, number, quoted};

/// Least memory of a container in bytes.
///
/// Source: `linuxMinMemory` in moby's `daemon/daemon_unix.go`, since 20.10; with less, the engine's own
/// process in the container does not start.
pub const LEAST_MEMORY_BYTES: u64 = 6 * 1024 * 1024;

/// Least share of a CPU in billionths.
///
/// Source: moby's `daemon/daemon_unix.go`, "Range of CPUs is from 0.01": a quota below 1 ms in 100 ms is
/// refused by the kernel.
pub const LEAST_NANO_CPUS: u64 = 10_000_000;

/// Most CPUs: what a kernel can have (`NR_CPUS` of x86). The engine knows how many there are.
pub const MAX_CPUS: u64 = 8192;

/// Longest time, a day. Ours: a longer one in these properties was meant in another unit.
pub const MAX_SECONDS: u64 = 24 * 60 * 60;

const SIZE: &str = "a whole number of MB, or with k, m or g, as 512 or 2g";
const CPUS: &str = "a number of CPUs from 0.01, as 0.5 or 2";
const TIME: &str = "seconds, or with s, m or h, at most a day, as 10 or 5m";

/// A limit of memory in bytes; see [`size_bytes`].
///
/// # Errors
///
/// It is no size, or below [`LEAST_MEMORY_BYTES`].
pub fn memory_bytes(text: &str) -> Parsed<u64> {
    let bytes = size_bytes(text)?;
    if bytes < LEAST_MEMORY_BYTES {
        let wrong = format!("{} is less than any container needs", quoted(text));
        return Err(BadValue::new(wrong, "6m or more, as 512 or 2g"));
    }
    Ok(bytes)
}

/// A size in bytes: `64` is 64 MB of 1024 * 1024 bytes; `k`, `m` and `g`, in upper or lower case and with
/// a `b` behind them if one likes, are other units, and `b` alone is bytes.
///
/// # Errors
///
/// It is no whole number with such a unit, is 0, or is more than an engine can be told.
pub fn size_bytes(text: &str) -> Parsed<u64> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), SIZE);
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match lower.get(digits.len()..).unwrap_or_default() {
        "b" => 1,
        "k" | "kb" => 1024,
        "" | "m" | "mb" => 1024 * 1024,
        "g" | "gb" => 1024 * 1024 * 1024,
        _ => return Err(bad("has a unit that is not k, m or g")),
    };
    let Some(count) = number::<u64>(digits) else { return Err(bad("is no whole number")) };
    match count.checked_mul(unit) {
        Some(0) => Err(bad("is nothing")),
        // The engines' interface has signed numbers.
        Some(bytes) if i64::try_from(bytes).is_ok() => Ok(bytes),
        Some(_) | None => Err(bad("is too much")),
    }
}

/// A share of the CPUs in billionths of one: `0.5` is 500,000,000.
///
/// # Errors
///
/// It is no number with at most nine decimals, or below [`LEAST_NANO_CPUS`], or above [`MAX_CPUS`].
pub fn cpus(text: &str) -> Parsed<u64> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), CPUS);
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if decimals.len() > 9 {
        return Err(bad("has more than nine decimals"));
    }
    let nano = number::<u64>(whole)
        .zip(number::<u64>(&format!("{decimals:0<9}")))
        .filter(|_| !decimals.is_empty())
        .and_then(|(whole, nano)| whole.checked_mul(1_000_000_000)?.checked_add(nano))
        .ok_or_else(|| bad("is no number of CPUs"))?;
    if nano < LEAST_NANO_CPUS {
        return Err(bad("is too little"));
    }
    if nano > MAX_CPUS * 1_000_000_000 {
        return Err(bad("is more than a machine has"));
    }
    Ok(nano)
}

/// A time: seconds, or with `s`, `m` or `h`.
///
/// # Errors
///
/// It is no whole number with such a unit, or longer than [`MAX_SECONDS`].
pub fn seconds(text: &str) -> Parsed<Duration> {
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), TIME);
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return Err(bad("has a unit that is not s, m or h")),
    };
    let Some(count) = number::<u64>(digits) else { return Err(bad("is no time")) };
    match count.checked_mul(unit) {
        Some(seconds) if seconds <= MAX_SECONDS => Ok(Duration::from_secs(seconds)),
        Some(_) | None => Err(bad("is longer than a day")),
    }
}

/// A whole number from `min` to `max`.
///
/// # Errors
///
/// It is none, or outside.
pub fn integer(text: &str, min: i64, max: i64) -> Parsed<i64> {
    let expected = || format!("a whole number from {min} to {max}, as {min}");
    let bad = |what: &str| BadValue::new(format!("{} {what}", quoted(text)), expected());
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("is no whole number"));
    }
    match text.parse() {
        Ok(found) if (min..=max).contains(&found) => Ok(found),
        Ok(_) | Err(_) => {
            Err(bad(if text.starts_with('-') { "is too low" } else { "is out of range" }))
        }
    }
}
