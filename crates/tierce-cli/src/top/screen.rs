//! The frame on a terminal.

use std::{collections::VecDeque, path::Path, time::Duration};

use ratatui::{
    Frame as Target,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Gauge, Paragraph, Row, Sparkline, Table},
};
use tierce::{StoreHeader, config::units::write_span};

use super::{
    frame::Frame,
    plain::{RATES, cells},
};
use crate::quantity::{bytes, rate};

/// Reads of earlier looks that are kept: as many as the widest terminals have columns.
const MOST_HISTORY: usize = 512;

/// What is on the screen.
pub(super) struct Screen {
    title: String,
    keys: String,
    frame: Option<Frame>,
    gets: VecDeque<u64>,
}

impl Screen {
    /// A screen with nothing to show yet.
    pub(super) fn new(path: &Path, header: &StoreHeader, interval: Duration) -> Self {
        let medium = if header.on_disk { "disk" } else { "mapped" };
        Self {
            title: format!(
                "{}  {} {medium}, made by tierce {}",
                path.display(),
                bytes(header.file_bytes),
                header.library_version
            ),
            keys: format!(
                "q ends  every {}  latencies: the store keeps none",
                write_span(interval)
            ),
            frame: None,
            gets: VecDeque::new(),
        }
    }

    /// Takes over a new frame.
    pub(super) fn show(&mut self, frame: Frame) {
        if self.gets.len() == MOST_HISTORY {
            self.gets.pop_front();
        }
        self.gets.push_back(frame.total.gets() as u64);
        self.frame = Some(frame);
    }

    /// Draws what there is; what does not fit is left out from below.
    pub(super) fn draw(&self, target: &mut Target<'_>) {
        let notes = self.frame.as_ref().map_or(1, |frame| frame.notes.len() as u16);
        let [title, gauges, segments, history, note, rows, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(4),
            Constraint::Length(notes),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(target.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        target.render_widget(Paragraph::new(self.title.as_str()).style(bold), title);
        target.render_widget(Paragraph::new(self.keys.as_str()).style(Color::DarkGray), keys);
        let Some(frame) = &self.frame else {
            target.render_widget(Paragraph::new("counting the first interval"), note);
            return;
        };
        draw_gauges(frame, target, gauges);
        let text = format!("segments: {}", frame.segments_text());
        target.render_widget(Paragraph::new(text), segments);
        self.draw_history(frame, target, history);
        let notes: Vec<Line<'_>> = frame.notes.iter().map(|note| note.as_str().into()).collect();
        target.render_widget(Paragraph::new(notes).style(Color::Yellow), note);
        draw_rows(frame, target, rows);
    }

    fn draw_history(&self, frame: &Frame, target: &mut Target<'_>, area: Rect) {
        let width = usize::from(area.width);
        let recent: Vec<u64> =
            self.gets.iter().skip(self.gets.len().saturating_sub(width)).copied().collect();
        let hits = frame.total.hit_ratio();
        let hits = hits.map_or_else(|| "-".into(), |hits| format!("{:.1} %", 100.0 * hits));
        let title = format!("{} gets/s, {hits} hits", rate(frame.total.gets()));
        let history = Sparkline::default().data(recent).style(Color::Green);
        target.render_widget(history.block(Block::new().title(title)), area);
    }
}

fn draw_gauges(frame: &Frame, target: &mut Target<'_>, area: Rect) {
    let [entries, space] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(1).areas(area);
    let part = |part: u64, whole: u64| (part as f64 / whole.max(1) as f64).clamp(0.0, 1.0);
    let gauge = |part: f64, label: String| {
        Gauge::default().ratio(part).label(label).gauge_style(Style::new().fg(Color::Blue))
    };
    let label = format!("entries {} of {}", frame.entries, frame.max_entries);
    target.render_widget(gauge(part(frame.entries, frame.max_entries), label), entries);
    let label = format!("live {} of {}", bytes(frame.live_bytes), bytes(frame.data_bytes));
    target.render_widget(gauge(part(frame.live_bytes, frame.data_bytes), label), space);
}

fn draw_rows(frame: &Frame, target: &mut Target<'_>, area: Rect) {
    let number = |text: String| Cell::new(Line::from(text).right_aligned());
    let row = |slot: String, who: String, rates| {
        let cells = cells(rates).map(number);
        Row::new([number(slot), Cell::new(who)].into_iter().chain(cells))
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let all = row(String::new(), "all".into(), &frame.total).style(bold);
    let each = frame.rows.iter().map(|one| {
        let who = if one.is_alive { one.who.clone() } else { "gone".into() };
        row(one.slot.to_string(), who, &one.rates)
    });
    let head = [number("slot".into()), Cell::new("process")]
        .into_iter()
        .chain(RATES.map(|name| number(name.into())));
    let widths = [Constraint::Length(4), Constraint::Min(16)]
        .into_iter()
        .chain(RATES.map(|_| Constraint::Length(9)));
    let table = Table::new([all].into_iter().chain(each), widths)
        .header(Row::new(head).style(Style::new().add_modifier(Modifier::REVERSED)));
    target.render_widget(table, area);
}
