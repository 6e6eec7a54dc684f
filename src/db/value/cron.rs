// SPDX-License-Identifier: GPL-2.0-or-later

//! Cron expressions: five fields, as in crontab(5), and when they come true.
//!
//! Everything here is a function of the moment that is asked about, so a clock that jumps, a machine that
//! slept and an hour that comes twice or not at all need no care elsewhere.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp, ToSpan, Zoned};

use super::{BadValue, Parsed, number, quoted};

const CRON: &str =
    "five fields, minute hour day month weekday, as '30 7 * * mon-fri' (at 7:30 on working days)";

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Longest a month can be.
const DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// One of the five fields.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    /// Names of the values, from `min` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: &MONTHS },
    // 0 and 7 are both Sunday.
    Field { name: "day of the week", min: 0, max: 7, names: &WEEKDAYS },
];

/// Moments by the clock of a place, to the minute. Bit `n` of a field stands for its value `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is 0.
    weekdays: u64,
    /// Whether one of the two fields of days is enough: so it is when neither begins with `*`.
    either_day: bool,
}

/// Days among which the moments of any expression lie: 29 February can be 40 years from the next one that
/// is a certain day of the week.
const MOST_DAYS: i32 = 41 * 366;

/// More than clocks are ever set back or forward by law.
fn most_shifted() -> Span {
    3.hours()
}

/// Reads a cron expression: `*`, numbers, names of months and weekdays, lists, ranges, and steps after
/// `*` or a range.
///
/// # Errors
///
/// It has not five fields, a field has a value it cannot have, or no year has such a day (`0 0 31 2 *`).
pub fn cron(text: &str) -> Parsed<Schedule> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let wrong = format!("{} has {} fields", quoted(text), fields.len());
        return Err(BadValue::new(wrong, CRON));
    }
    let mut values = Vec::with_capacity(FIELDS.len());
    for (field, text) in FIELDS.iter().zip(&fields) {
        values.push(field.parse(text)?);
    }
    let is_any = |at: usize| fields.get(at).is_some_and(|text| text.starts_with('*'));
    let [minutes, hours, days, months, weekdays] = values.as_slice() else {
        return Err(BadValue::new(quoted(text), CRON));
    };
    if is_any(4) && !some_month_has_one(months, days) {
        let wrong = format!("no month of {} has such a day", quoted(text));
        return Err(BadValue::new(wrong, CRON));
    }
    let bits = |values: &[u8]| values.iter().fold(0, |bits, value| bits | (1_u64 << value));
    Ok(Schedule {
        minutes: bits(minutes),
        hours: bits(hours),
        days: bits(days),
        months: bits(months),
        weekdays: bits(&weekdays.iter().map(|day| day % 7).collect::<Vec<_>>()),
        either_day: !is_any(2) && !is_any(4),
    })
}

impl Schedule {
    /// The last moment of it up to `now`; `None` when there was none in a lifetime.
    ///
    /// A time of day that comes twice counts when it comes first; one that is left out counts at the
    /// moment when the clock goes over it.
    pub fn last(&self, now: &Zoned) -> Option<Timestamp> {
        let latest = now.datetime().saturating_add(most_shifted());
        let mut date = latest.date();
        for _ in 0..MOST_DAYS {
            let mut times = self.times(date).rev().filter(|time| *time <= latest);
            let moment = times.find_map(|time| {
                moment(time, now.time_zone()).filter(|moment| *moment <= now.timestamp())
            });
            if moment.is_some() {
                return moment;
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// The first moment of it after `now`.
    pub fn next(&self, now: &Zoned) -> Option<Timestamp> {
        let earliest = now.datetime().saturating_sub(most_shifted());
        let mut date = earliest.date();
        for _ in 0..MOST_DAYS {
            let mut times = self.times(date).filter(|time| *time >= earliest);
            let moment = times.find_map(|time| {
                moment(time, now.time_zone()).filter(|moment| *moment > now.timestamp())
            });
            if moment.is_some() {
                return moment;
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// Its times on `date`, in their order.
    fn times(&self, date: Date) -> impl DoubleEndedIterator<Item = DateTime> {
        let is_on = self.is_on(date);
        let hours = (0..24_i8).filter(move |hour| is_on && has(self.hours, *hour));
        hours.flat_map(move |hour| {
            let minutes = (0..60_i8).filter(move |minute| has(self.minutes, *minute));
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        })
    }

    fn is_on(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let is_day = if self.either_day { day || weekday } else { day && weekday };
        is_day && has(self.months, date.month())
    }
}

fn has(bits: u64, value: i8) -> bool {
    (bits >> value) & 1 == 1
}

/// When it is `time` in `zone`.
fn moment(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let offset = zone.to_ambiguous_timestamp(time).offset();
    match offset {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            let before_it = after.to_timestamp(time).ok()?;
            zone.following(before_it).next().map(|transition| transition.timestamp())
        }
    }
}

fn some_month_has_one(months: &[u8], days: &[u8]) -> bool {
    let first = days.iter().min().copied().unwrap_or(1);
    DAYS.iter().zip(1..).any(|(length, month)| months.contains(&month) && first <= *length)
}

impl Field {
    /// The values that the text of the field stands for.
    fn parse(&self, text: &str) -> Parsed<Vec<u8>> {
        let mut values = Vec::new();
        for element in text.split(',') {
            let (range, step) = match element.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (element, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.min, self.max),
                Some((first, last)) => (self.value(first, element)?, self.value(last, element)?),
                None if step.is_some() => {
                    return Err(self.bad(element, "has a step that is not after '*' or a range"));
                }
                None => {
                    let value = self.value(range, element)?;
                    (value, value)
                }
            };
            if first > last {
                return Err(self.bad(element, "runs backwards"));
            }
            let step = match step {
                Some(step) => number::<u8>(step)
                    .filter(|step| *step > 0)
                    .ok_or_else(|| self.bad(element, "has a step that is no number above 0"))?,
                None => 1,
            };
            values.extend((first..=last).step_by(usize::from(step)));
        }
        Ok(values)
    }

    fn value(&self, text: &str, element: &str) -> Parsed<u8> {
        let named = (self.min..)
            .zip(self.names)
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(value, _)| value);
        named
            .or_else(|| number(text).filter(|value| (self.min..=self.max).contains(value)))
            .ok_or_else(|| self.bad(element, &format!("is not from {} to {}", self.min, self.max)))
    }

    fn bad(&self, element: &str, what: &str) -> BadValue {
        BadValue::new(format!("{} in the field {} {what}", quoted(element), self.name), CRON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Berlin's rules without its files.
    fn zone() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn at(text: &str) -> Zoned {
        text.parse::<Timestamp>().unwrap().to_zoned(zone())
    }

    fn shown(moment: Option<Timestamp>) -> String {
        moment.map_or("never".to_owned(), |moment| {
            moment.to_zoned(zone()).strftime("%a %F %H:%M%:z").to_string()
        })
    }

    /// Last and next moment of `expression` as seen at `now`.
    fn around(expression: &str, now: &str) -> (String, String) {
        let schedule = cron(expression).unwrap();
        (shown(schedule.last(&at(now))), shown(schedule.next(&at(now))))
    }

    fn both(last: &str, next: &str) -> (String, String) {
        (last.to_owned(), next.to_owned())
    }

    #[test]
    fn the_moments_before_and_after_are_found() {
        let now = "2026-11-21T11:30:00Z";
        assert_eq!(
            around("30 7 * * mon-fri", now),
            both("Fri 2026-11-20 07:30+01:00", "Mon 2026-11-23 07:30+01:00")
        );
        // A moment counts from its first second on.
        assert_eq!(
            around("30 12 * * *", now),
            both("Sat 2026-11-21 12:30+01:00", "Sun 2026-11-22 12:30+01:00")
        );
        // Either field of days is enough when both say something.
        assert_eq!(
            around("0 0 13 * fri", now),
            both("Fri 2026-11-20 00:00+01:00", "Fri 2026-11-27 00:00+01:00")
        );
        assert_eq!(
            around("0 0 1-7 * */7", now),
            both("Sun 2026-11-01 00:00+01:00", "Sun 2026-12-06 00:00+01:00")
        );
        assert_eq!(
            around("0 0 29 2 *", now),
            both("Thu 2024-02-29 00:00+01:00", "Tue 2028-02-29 00:00+01:00")
        );
        assert_eq!(
            around("*/15 8-17 * * 7", now),
            both("Sun 2026-11-15 17:45+01:00", "Sun 2026-11-22 08:00+01:00")
        );
    }

    #[test]
    fn an_hour_that_is_left_out_or_comes_twice_counts_once() {
        // On 29 March 2026 clocks go from 2:00 to 3:00 at 1:00 UTC.
        let gap = both("Sun 2026-03-29 03:00+02:00", "Mon 2026-03-30 02:30+02:00");
        assert_eq!(around("30 2 * * *", "2026-03-29T01:00:00Z"), gap);
        assert_eq!(around("30 2 * * *", "2026-03-29T12:00:00Z"), gap);
        assert_eq!(
            around("30 2 * * *", "2026-03-29T00:59:59Z"),
            both("Sat 2026-03-28 02:30+01:00", "Sun 2026-03-29 03:00+02:00")
        );
        // On 25 October 2026 they go from 3:00 back to 2:00 at 1:00 UTC.
        let fold = both("Sun 2026-10-25 02:30+02:00", "Mon 2026-10-26 02:30+01:00");
        for now in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:45:00Z"] {
            assert_eq!(around("30 2 * * *", now), fold, "{now}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_lies_between_the_last_and_the_next(
            seconds in 1_700_000_000_i64..1_800_000_000,
            minute in 0..60_u8,
            hour in 0..24_u8,
            weekdays in proptest::bool::ANY,
        ) {
            let days = if weekdays { "mon-fri" } else { "*" };
            let schedule = cron(&format!("{minute} {hour} * * {days}")).unwrap();
            let now = Timestamp::from_second(seconds).unwrap().to_zoned(zone());
            let (last, next) = (schedule.last(&now).unwrap(), schedule.next(&now).unwrap());
            proptest::prop_assert!(last <= now.timestamp() && now.timestamp() < next);
            // Seen from each of them, the other is its neighbour.
            proptest::prop_assert_eq!(schedule.next(&last.to_zoned(zone())), Some(next));
            let before = next.checked_sub(1.second()).unwrap().to_zoned(zone());
            proptest::prop_assert_eq!(schedule.last(&before), Some(last));
        }
    }
}
