//! The picture: a small panel for each trace, hit ratio over capacity, SVG.
//!
//! Text is measured with the font of the command's plots, so that a machine without fonts draws
//! the same picture. The first eight colours are those of Okabe and Ito, told apart by
//! colour-blind readers.

use std::{fmt::Display, path::Path};

use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};

use super::{contestants::Contestant, run::Cell};

const FONT: &str = "sans-serif";
static FONT_FILE: &[u8] = include_bytes!("../../../crates/tierce-cli/assets/DejaVuSans-subset.ttf");
/// Panels beside each other.
const COLUMNS: usize = 4;
const PANEL: (u32, u32) = (330, 260);
const TITLE_HEIGHT: u32 = 84;

/// Those that are drawn, in the order of the legend; more lines would hide each other.
const LINES: [(&str, RGBColor, u32); 10] = [
    ("OPT", RGBColor(0, 0, 0), 2),
    ("tierce", RGBColor(213, 94, 0), 4),
    ("tierce LRU", RGBColor(240, 170, 120), 2),
    ("quick_cache", RGBColor(0, 114, 178), 2),
    ("moka", RGBColor(0, 158, 115), 2),
    ("foyer S3-FIFO", RGBColor(204, 121, 167), 2),
    ("W-TinyLFU 1 %", RGBColor(86, 180, 233), 2),
    ("W-TinyLFU 10 %", RGBColor(120, 100, 200), 2),
    ("SIEVE", RGBColor(230, 159, 0), 2),
    ("LRU", RGBColor(150, 150, 150), 2),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws all cells into the file.
///
/// # Errors
/// If the file cannot be written; the text says why.
pub fn draw(path: &Path, cells: &[Cell], contestants: &[Contestant]) -> Result<(), String> {
    let fail = |error: String| format!("plot {}: cannot be drawn: {error}", path.display());
    draw_all(path, cells, contestants).map_err(fail)
}

fn draw_all(path: &Path, cells: &[Cell], contestants: &[Contestant]) -> Result<(), String> {
    register_font(FONT, FontStyle::Normal, FONT_FILE).map_err(|_| "the font is damaged")?;
    let traces: Vec<&[Cell]> = cells.chunk_by(|one, next| one.trace == next.trace).collect();
    let rows = traces.len().div_ceil(COLUMNS);
    let size = (COLUMNS as u32 * PANEL.0, TITLE_HEIGHT + rows as u32 * PANEL.1);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE).map_err(text)?;
    let (title, panels) = root.split_vertically(TITLE_HEIGHT);
    let lines: Vec<Line> = LINES.iter().filter_map(|line| Line::of(line, contestants)).collect();
    draw_title(&title, &lines)?;
    for (panel, cells) in panels.split_evenly((rows.max(1), COLUMNS)).iter().zip(traces) {
        draw_panel(panel, cells, &lines)?;
    }
    root.present().map_err(text)
}

/// One contestant's line.
struct Line {
    index: usize,
    name: &'static str,
    style: ShapeStyle,
}

impl Line {
    fn of(
        &(name, colour, width): &(&'static str, RGBColor, u32),
        contestants: &[Contestant],
    ) -> Option<Self> {
        let index = contestants.iter().position(|contestant| contestant.name == name)?;
        Some(Self { index, name, style: colour.stroke_width(width) })
    }
}

fn draw_title(area: &Area<'_>, lines: &[Line]) -> Result<(), String> {
    let large = (FONT, 22).into_font().color(&BLACK);
    let small = (FONT, 14).into_font().color(&BLACK);
    let title = "Hit ratio (%) over capacity (% of the trace's unique keys, logarithmic)";
    area.draw_text(title, &large, (16, 10)).map_err(text)?;
    let width = (COLUMNS as u32 * PANEL.0 - 20) as i32 / LINES.len() as i32;
    for (at, line) in lines.iter().enumerate() {
        let (x, y) = (16 + at as i32 * width, 60);
        area.draw(&PathElement::new(vec![(x, y), (x + 22, y)], line.style)).map_err(text)?;
        area.draw_text(line.name, &small, (x + 27, y - 8)).map_err(text)?;
    }
    Ok(())
}

fn draw_panel(area: &Area<'_>, cells: &[Cell], lines: &[Line]) -> Result<(), String> {
    let grey = RGBColor(90, 90, 90);
    let highest =
        |line: &Line| cells.iter().map(|cell| cell.ratios[line.index]).fold(1.0, f64::max);
    // Up to the next ten above the highest line.
    let top = (lines.iter().map(highest).fold(0.0, f64::max) / 10.0).ceil() * 10.0;
    let title = (FONT, 16).into_font().color(&BLACK);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(&cells[0].trace, title)
        .x_label_area_size(24)
        .y_label_area_size(32)
        .build_cartesian_2d((0.4..60.0f64).log_scale().with_key_points(points(cells)), 0.0..top)
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .axis_style(grey)
        .y_labels(6)
        .x_label_formatter(&|share| format!("{share}"))
        .y_label_formatter(&|ratio| format!("{ratio:.0}"))
        .label_style((FONT, 12).into_font().color(&grey))
        .draw()
        .map_err(text)?;
    // Those at the head of the legend are drawn last, so that they are seen.
    for line in lines.iter().rev() {
        let at = |cell: &Cell| (cell.share.percent(), cell.ratios[line.index]);
        chart.draw_series(LineSeries::new(cells.iter().map(at), line.style)).map_err(text)?;
    }
    Ok(())
}

fn points(cells: &[Cell]) -> Vec<f64> {
    cells.iter().map(|cell| cell.share.percent()).collect()
}

fn text(error: impl Display) -> String {
    error.to_string()
}
