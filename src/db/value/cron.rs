// SPDX-License-Identifier: GPL-2.0-or-later

//! Cron expressions: five fields, as in crontab(5).

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

/// Checks a cron expression: `*`, numbers, names of months and weekdays, lists, ranges, and steps after
/// `*` or a range.
///
/// # Errors
///
/// It has not five fields, a field has a value it cannot have, or no year has such a day (`0 0 31 2 *`).
pub fn cron(text: &str) -> Parsed<()> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let wrong = format!("{} has {} fields", quoted(text), fields.len());
        return Err(BadValue::new(wrong, CRON));
    }
    let mut values = Vec::with_capacity(FIELDS.len());
    for (field, text) in FIELDS.iter().zip(&fields) {
        values.push(field.parse(text)?);
    }
    if let [_, _, days, months, _] = values.as_slice()
        && fields.last().is_some_and(|weekday| weekday.starts_with('*'))
        && !some_month_has_one(months, days)
    {
        let wrong = format!("no month of {} has such a day", quoted(text));
        return Err(BadValue::new(wrong, CRON));
    }
    Ok(())
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
