// SPDX-License-Identifier: GPL-2.0-or-later

//! How far a pass is, while it is under way: one line that changes on a terminal, else a line for each
//! step when it is done.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::command::Output;
use crate::cli::{complain_text_raw, print};
use crate::host::progress::{Got, Now, Progress};

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Display {
    /// One line on stderr, gone at the end.
    Bar,
    /// Plain lines on stdout, which stay.
    Lines,
    /// Not at all.
    Silent,
}

impl Display {
    /// As stderr and `output` can take it.
    pub(super) fn of(output: Output) -> Self {
        let is_plain =
            std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        match (io::stderr().is_terminal() && !is_plain, output.json) {
            (true, _) => Self::Bar,
            (false, true) => Self::Silent,
            (false, false) => Self::Lines,
        }
    }

    /// Whether each step was told when it was done.
    pub(super) const fn has_told(self) -> bool {
        matches!(self, Self::Lines)
    }
}

/// Between two looks.
const TICK: Duration = Duration::from_millis(100);

/// Between two plain lines about an image that is still on its way.
const SLOWLY: Duration = Duration::from_secs(10);

/// What `work` gives; meanwhile it is shown how far it is, and said once when `stop` is set.
pub(super) async fn shown<T>(
    progress: &Progress,
    display: Display,
    stop: &AtomicBool,
    work: impl Future<Output = T>,
) -> T {
    let mut screen = Screen::new(display);
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                // Whoever asked at the last moment is answered too.
                let now = progress.take();
                screen.heed(&now, stop);
                screen.end(&now);
                return done;
            }
            () = tokio::time::sleep(TICK) => screen.show(&progress.take(), stop),
        }
    }
}

/// Ends when `stop` is set.
pub(super) async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(TICK).await;
    }
}

struct Screen {
    display: Display,
    bar: Option<ProgressBar>,
    begun: Instant,
    /// When a plain line about an image was written last.
    told: Instant,
    has_said_stop: bool,
}

impl Screen {
    fn new(display: Display) -> Self {
        let begun = Instant::now();
        Self { display, bar: None, begun, told: begun, has_said_stop: false }
    }

    /// Says once that `stop` was heard.
    fn heed(&mut self, now: &Now, stop: &AtomicBool) {
        if stop.load(Ordering::Relaxed) && !self.has_said_stop {
            self.has_said_stop = true;
            self.clear();
            complain_text_raw(&format!("note: {}\n", stopping(now)));
        }
    }

    fn show(&mut self, now: &Now, stop: &AtomicBool) {
        self.heed(now, stop);
        match self.display {
            Display::Bar if now.planned > 0 => self.draw(now),
            Display::Lines => self.lines(now),
            Display::Bar | Display::Silent => {}
        }
    }

    fn draw(&mut self, now: &Now) {
        let bar = self.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar =
                ProgressBar::with_draw_target(None, target).with_elapsed(self.begun.elapsed());
            let style = ProgressStyle::with_template("{spinner} {pos}/{len} {elapsed} {wide_msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_length(now.planned as u64);
        bar.set_position(now.ended as u64);
        bar.set_message(under_way(now));
        bar.tick();
        HAS_BAR.store(true, Ordering::Relaxed);
    }

    fn lines(&mut self, now: &Now) {
        let took = self.begun.elapsed().as_secs_f64();
        for (ended, step) in &now.done {
            print(&format!("done: {step} ({ended} of {}, {took:.1} s)\n", now.planned));
        }
        if !now.images.is_empty() && self.told.elapsed() >= SLOWLY {
            self.told = Instant::now();
            for image in images(&now.images) {
                print(&format!("{image} ({} of {}, {took:.0} s)\n", now.ended, now.planned));
            }
        }
    }

    fn end(&mut self, now: &Now) {
        self.clear();
        if self.display == Display::Lines {
            self.lines(now);
        }
    }

    /// Takes the line that changes away, for what is to stay.
    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        HAS_BAR.store(false, Ordering::Relaxed);
    }
}

/// What is said to whoever has asked for the end.
fn stopping(now: &Now) -> String {
    let steps: Vec<&str> = now.under_way.values().map(|one| one.step.as_str()).collect();
    match steps.as_slice() {
        [] => "stopping; once more ends at once".to_owned(),
        steps => format!("stopping after: {}; once more ends at once", steps.join(", ")),
    }
}

/// What is at work: images with their bytes first, because they take longest.
fn under_way(now: &Now) -> String {
    let mut parts: Vec<String> = images(&now.images).collect();
    let is_image = |step: &str| now.images.keys().any(|image| step == format!("get image {image}"));
    let steps = now.under_way.values().map(|one| &one.step);
    parts.extend(steps.filter(|step| !is_image(step)).cloned());
    parts.join(", ")
}

fn images(images: &BTreeMap<String, Got>) -> impl Iterator<Item = String> {
    images.iter().map(|(image, got)| match got.of {
        0 => format!("get image {image}"),
        of => format!("get image {image}: {} of {}", BinaryBytes(got.bytes), BinaryBytes(of)),
    })
}

/// Whether a line that changes is on the terminal now.
static HAS_BAR: AtomicBool = AtomicBool::new(false);

/// Stderr for lines of the log: they begin where a line that changes was.
pub(super) fn beside() -> impl Write {
    let mut stderr = io::stderr();
    if HAS_BAR.load(Ordering::Relaxed) {
        // A terminal that is gone is nobody's loss.
        stderr.write_all(b"\r\x1b[K").ok();
    }
    stderr
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::progress::UnderWay;

    #[test]
    fn an_image_is_told_with_its_bytes_and_once() {
        let step = |step: &str| UnderWay { step: step.to_owned(), kind: "", record: None };
        let now = Now {
            under_way: [(0, step("get image demo:1")), (1, step("start container wiki"))].into(),
            images: [("demo:1".to_owned(), Got { bytes: 3 << 20, of: 12 << 20 })].into(),
            ..Now::default()
        };
        assert_eq!(
            under_way(&now),
            "get image demo:1: 3.00 MiB of 12.00 MiB, start container wiki"
        );
        assert_eq!(
            stopping(&now),
            "stopping after: get image demo:1, start container wiki; once more ends at once"
        );
    }
}
