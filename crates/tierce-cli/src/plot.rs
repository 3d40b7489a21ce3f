//! Draws who answered over the course of a trace: stacked areas, 1200 x 600, PNG or SVG.
//!
//! Text comes from a font in this program, so that a machine without fonts draws the same
//! picture. Colours are those of Okabe and Ito, told apart by colour-blind readers.

use std::{fmt::Display, path::Path};

use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        FontStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{output::Failure, play::Played, report::Setting, target::Place};

const SIZE: (u32, u32) = (1200, 600);
/// Room for the legend beside the axes.
const LEGEND_WIDTH: i32 = 230;
/// Room for the two lines of the title.
const TITLE_HEIGHT: i32 = 76;
const FONT: &str = "sans-serif";
static FONT_FILE: &[u8] = include_bytes!("../assets/DejaVuSans-subset.ttf");

/// The format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Svg,
}

impl Format {
    /// By the ending of the file's name.
    pub(crate) fn of_path(path: &Path) -> Result<Self, Failure> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "png" => Ok(Self::Png),
            "svg" => Ok(Self::Svg),
            _ => Err(format!("plot {}: the name must end in .png or .svg", path.display()).into()),
        }
    }
}

const fn colour(place: Place) -> RGBColor {
    match place.index() {
        0 => RGBColor(0, 114, 178),
        1 => RGBColor(0, 158, 115),
        2 => RGBColor(230, 159, 0),
        3 => RGBColor(204, 121, 167),
        _ => RGBColor(205, 205, 205),
    }
}

/// Draws the picture into the file.
pub(crate) fn draw(
    path: &Path,
    format: Format,
    setting: &Setting<'_>,
    played: &Played,
) -> Result<(), Failure> {
    register_font(FONT, FontStyle::Normal, FONT_FILE).map_err(|_| "the font is damaged")?;
    let drawn = match format {
        Format::Png => draw_on(BitMapBackend::new(path, SIZE).into_drawing_area(), setting, played),
        Format::Svg => draw_on(SVGBackend::new(path, SIZE).into_drawing_area(), setting, played),
    };
    drawn.map_err(|error| format!("plot {}: cannot be drawn: {error}", path.display()).into())
}

fn draw_on<Backend: DrawingBackend>(
    root: DrawingArea<Backend, Shift>,
    setting: &Setting<'_>,
    played: &Played,
) -> Result<(), String> {
    root.fill(&WHITE).map_err(text)?;
    let (title, below) = root.split_vertically(TITLE_HEIGHT);
    let (axes, legend) = below.split_horizontally(SIZE.0 as i32 - LEGEND_WIDTH);
    draw_title(&title, setting, played)?;
    draw_areas(&axes, played)?;
    draw_legend(&legend, setting, played)?;
    root.present().map_err(text)
}

fn draw_title<Backend: DrawingBackend>(
    area: &DrawingArea<Backend, Shift>,
    setting: &Setting<'_>,
    played: &Played,
) -> Result<(), String> {
    let large = (FONT, 24).into_font().color(&BLACK);
    let small = (FONT, 15).into_font().color(&RGBColor(80, 80, 80));
    let title = format!("{}: who answered, tiering {}", setting.trace, setting.tiering);
    area.draw_text(&shorten(&title, 85), &large, (24, 16)).map_err(text)?;
    let subtitle = format!(
        "{} requests, {:.2} % hits, {} calls of the origin; {}",
        played.requests(),
        100.0 * played.hit_ratio(),
        played.origin_calls,
        setting
            .options
            .iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    area.draw_text(&shorten(&subtitle, 140), &small, (24, 50)).map_err(text)
}

/// Draws cumulated shares from the topmost layer down, each from the axis up, so that what stays
/// visible of each is its own share.
fn draw_areas<Backend: DrawingBackend>(
    area: &DrawingArea<Backend, Shift>,
    played: &Played,
) -> Result<(), String> {
    let requests = played.requests().max(1) as f64;
    let (scale, unit) = if requests >= 10_000.0 { (1e3, " (thousands)") } else { (1.0, "") };
    let end = requests / scale;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(52)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, 0.0..100.0)
        .map_err(text)?;
    for top in (0..Place::ALL.len()).rev() {
        let steps = played.slices.iter().enumerate().flat_map(|(number, slice)| {
            let all = slice.iter().sum::<u64>().max(1) as f64;
            let share = 100.0 * slice[..=top].iter().sum::<u64>() as f64 / all;
            let edge = |slices: usize| end * slices as f64 / played.slices.len() as f64;
            [(edge(number), share), (edge(number + 1), share)]
        });
        chart
            .draw_series(AreaSeries::new(steps, 0.0, colour(Place::ALL[top]).filled()))
            .map_err(text)?;
    }
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(WHITE.mix(0.35))
        .x_desc(format!("requests played{unit}"))
        .y_desc("share of requests (%)")
        .x_labels(11)
        .y_labels(11)
        .x_label_formatter(&|x| if end >= 20.0 { format!("{x:.0}") } else { format!("{x:.1}") })
        .y_label_formatter(&|y| format!("{y:.0}"))
        .axis_desc_style((FONT, 17))
        .label_style((FONT, 15))
        .draw()
        .map_err(text)
}

fn draw_legend<Backend: DrawingBackend>(
    area: &DrawingArea<Backend, Shift>,
    setting: &Setting<'_>,
    played: &Played,
) -> Result<(), String> {
    const ROW: i32 = 46;
    const SQUARE: i32 = 18;
    let anchor = Pos::new(HPos::Left, VPos::Center);
    let label = (FONT, 16).into_font().color(&BLACK).pos(anchor);
    let detail = (FONT, 14).into_font().color(&RGBColor(80, 80, 80)).pos(anchor);
    let shown = Place::ALL.into_iter().rev().filter(|place| match place {
        Place::Tier(tier) => setting.tiering.has(*tier),
        _ => played.tallies[place.index()].count > 0,
    });
    for (row, place) in shown.enumerate() {
        let (x, y) = (16, 14 + row as i32 * ROW);
        let square = [(x, y), (x + SQUARE, y + SQUARE)];
        area.draw(&Rectangle::new(square, colour(place).filled())).map_err(text)?;
        let name = match place {
            Place::Tier(_) => format!("{} hits", place.label()),
            Place::Joined => "joined another's load".to_owned(),
            Place::Origin => "loaded from the origin".to_owned(),
        };
        area.draw_text(&name, &label, (x + 28, y + SQUARE / 2)).map_err(text)?;
        let count = played.tallies[place.index()].count;
        let share = 100.0 * count as f64 / played.requests().max(1) as f64;
        area.draw_text(&format!("{share:.2} %"), &detail, (x + 28, y + SQUARE / 2 + 20))
            .map_err(text)?;
    }
    Ok(())
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Cuts a line that would run out of the picture.
fn shorten(line: &str, most: usize) -> String {
    if line.chars().count() <= most {
        return line.to_owned();
    }
    line.chars().take(most - 1).chain(['…']).collect()
}
