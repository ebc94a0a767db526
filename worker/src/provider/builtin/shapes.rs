//! What a figure looks like: a table of outlines.
//!
//! One unit is a hundredth of the figure's height; (0, 0) is where it touches the ground, up is
//! negative. An outline is SVG path data restricted to absolute `M`, `L`, `Q`, `C` and `Z` with
//! spaces between everything; [`outline`] reads it. Parts are painted in the table's order.

use tiny_skia::{Path, PathBuilder};

/// One colour of a figure.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// An outline in a colour that the scene's light dims.
    Fill(u32, &'static str),
    /// An outline that shines by itself when it is dark.
    Lamp(u32, &'static str),
    /// Light in the air around a point: x, y and radius.
    Halo(f32, f32, f32),
    /// Two beams from a point: x and y.
    Beams(f32, f32),
}

use Part::{Beams, Fill, Halo, Lamp};

const ORANGE: u32 = 0xd9662b;
const ORANGE_DARK: u32 = 0xb84e1e;
const CREAM: u32 = 0xfbf1e2;
const SOOT: u32 = 0x2b2326;
const COAT: u32 = 0x29262e;
const LAMP: u32 = 0xffd98a;

pub(super) const FOX: &[Part] = &[
    Fill(
        ORANGE_DARK,
        "M 14 -2 C 44 8 70 -8 66 -40 C 65 -52 58 -60 50 -66 C 52 -52 46 -40 36 -30 C 28 -22 20 -18 12 -16 Z",
    ),
    Fill(
        CREAM,
        "M 66 -40 C 65 -52 58 -60 50 -66 C 51 -57 49 -49 44 -41 L 50 -44 L 53 -38 L 58 -43 L 61 -37 Z",
    ),
    Fill(ORANGE, "M -8 -74 C -24 -56 -28 -28 -25 0 L 26 0 C 40 -16 30 -48 8 -74 Z"),
    Fill(ORANGE_DARK, "M 30 0 C 40 -16 32 -36 20 -38 C 6 -38 2 -18 8 0 Z"),
    Fill(
        CREAM,
        "M -9 -72 C -19 -58 -20 -44 -13 -32 L -10 -37 L -7 -28 L -3 -36 C 4 -46 6 -58 4 -70 Z",
    ),
    Fill(SOOT, "M -26 0 C -27 -8 -26 -16 -25 -22 L -14 -22 C -14 -12 -13 -6 -12 0 Z"),
    Fill(SOOT, "M -8 0 C -9 -8 -8 -16 -7 -22 L 3 -22 C 4 -12 4 -6 6 0 Z"),
    Fill(
        ORANGE,
        "M -28 -104 C -32 -94 -32 -86 -31 -80 C -26 -72 -14 -66 -2 -57 C 10 -66 22 -72 27 -80 C 28 -86 28 -94 24 -104 L 10 -91 L -14 -91 Z",
    ),
    Fill(SOOT, "M -27 -100 L -27 -88 L -19 -92 Z M 23 -100 L 23 -88 L 15 -92 Z"),
    Fill(
        CREAM,
        "M -31 -80 C -22 -80 -14 -78 -8 -66 L -2 -57 C -14 -66 -26 -72 -31 -80 Z M 27 -80 C 18 -80 10 -78 4 -66 L -2 -57 C 10 -66 22 -72 27 -80 Z",
    ),
    Fill(
        SOOT,
        "M -15 -81 Q -11 -85 -8 -79 Q -12 -78 -15 -81 Z M 11 -81 Q 7 -85 4 -79 Q 8 -78 11 -81 Z",
    ),
    Fill(SOOT, "M -6 -61 Q -2 -64 2 -61 Q 1 -57 -2 -56 Q -5 -57 -6 -61 Z"),
];

pub(super) const CAT: &[Part] = &[
    Fill(
        COAT,
        "M 16 -8 C 34 2 52 -6 50 -26 C 49 -36 42 -40 42 -48 C 42 -53 48 -54 49 -49 C 50 -44 57 -38 57 -25 C 58 2 34 12 12 0 Z",
    ),
    Fill(COAT, "M -13 -70 C -24 -58 -33 -26 -27 0 L 27 0 C 33 -26 24 -58 13 -70 Z"),
    Fill(
        COAT,
        "M -20 -103 Q -23 -92 -22 -80 C -21 -68 -11 -60 0 -60 C 11 -60 21 -68 22 -80 Q 23 -92 20 -103 Q 13 -98 8 -91 Q 0 -93 -8 -91 Q -13 -98 -20 -103 Z",
    ),
];

pub(super) const LIGHTHOUSE: &[Part] = &[
    Beams(0.0, -83.5),
    Fill(0xf3efe6, "M -12 4 L -7.5 -74 L 7.5 -74 L 12 4 Z"),
    Fill(
        0xc0392f,
        "M -11 -14 L -10.1 -29 L 10.1 -29 L 11 -14 Z M -9.2 -44 L -8.4 -59 L 8.4 -59 L 9.2 -44 Z",
    ),
    Fill(0xcfc8bd, "M 4 4 L 3 -74 L 7.5 -74 L 12 4 Z M 40 0 L 40 -1 Z"),
    Fill(
        0x96281f,
        "M 3.7 -14 L 3.5 -29 L 10.1 -29 L 11 -14 Z M 3.3 -44 L 3.1 -59 L 8.4 -59 L 9.2 -44 Z",
    ),
    Fill(0x3a3538, "M -11 -74 L 11 -74 L 11 -77 L -11 -77 Z M -3 4 L -3 -5 Q 0 -9 3 -5 L 3 4 Z"),
    Lamp(LAMP, "M -5.5 -77 L 5.5 -77 L 5.5 -90 L -5.5 -90 Z"),
    Fill(
        0x3a3538,
        "M -0.7 -77 L 0.7 -77 L 0.7 -90 L -0.7 -90 Z M -8 -89.5 Q 0 -98 8 -89.5 Z M -0.6 -93 L 0.6 -93 L 0.4 -100 L -0.4 -100 Z",
    ),
    Halo(0.0, -83.5, 34.0),
];

pub(super) const BOAT: &[Part] = &[
    Fill(0x4a3a34, "M -0.9 -8 L 0.9 -8 L 0.9 -100 L -0.9 -100 Z"),
    Fill(0xfaf5ea, "M 3 -97 C 15 -66 26 -40 36 -17 Q 18 -13 3 -16 Z"),
    Fill(0xe4dccd, "M -3 -90 C -8 -62 -20 -36 -32 -15 Q -16 -12 -3 -16 Z"),
    Fill(0x7a3b2c, "M -36 -9 Q 0 -5 42 -11 C 36 -2 28 3 14 3 L -16 3 C -26 3 -32 -2 -36 -9 Z"),
    Fill(0xe9dfcf, "M -36 -9 Q 0 -5 42 -11 L 41 -8.8 Q 0 -3 -34.6 -6.6 Z"),
];

pub(super) const CABIN: &[Part] = &[
    Fill(0x5d4a42, "M 16 -60 L 26 -60 L 26 -92 L 16 -92 Z"),
    Fill(0x7c5540, "M -46 2 L -46 -44 L 46 -44 L 46 2 Z"),
    Fill(
        0x684534,
        "M -46 -8 L 46 -8 L 46 -10 L -46 -10 Z M -46 -20 L 46 -20 L 46 -22 L -46 -22 Z M -46 -32 L 46 -32 L 46 -34 L -46 -34 Z",
    ),
    Fill(0x54382c, "M 10 2 L 10 -30 L 28 -30 L 28 2 Z"),
    Lamp(LAMP, "M -32 -14 L -32 -34 L -8 -34 L -8 -14 Z"),
    Fill(
        0x54382c,
        "M -21 -14 L -21 -34 L -19 -34 L -19 -14 Z M -32 -23 L -8 -23 L -8 -25 L -32 -25 Z",
    ),
    Fill(0x8c3d32, "M -58 -38 L 0 -88 L 58 -38 L 50 -38 L 0 -78 L -50 -38 Z"),
    Fill(0x93604a, "M -46 -42 L 0 -78 L 46 -42 Z"),
    Lamp(LAMP, "M -6 -52 L -6 -62 L 6 -62 L 6 -52 Z"),
    Halo(-20.0, -24.0, 46.0),
];

pub(super) const CASTLE: &[Part] = &[
    Fill(0x8f8a94, "M -14 4 L -14 -66 L 14 -66 L 14 4 Z"),
    Fill(
        0x7b7682,
        "M -46 6 L -46 -26 L -40 -26 L -40 -30 L -34 -30 L -34 -26 L -28 -26 L -28 -30 L -22 -30 L -22 -26 L 22 -26 L 22 -30 L 28 -30 L 28 -26 L 34 -26 L 34 -30 L 40 -30 L 40 -26 L 46 -26 L 46 6 Z",
    ),
    Fill(
        0x9a95a0,
        "M -56 8 L -56 -42 L -38 -42 L -38 8 Z M 38 8 L 38 -48 L 54 -48 L 54 8 Z M -30 0 L -30 -52 L -17 -52 L -17 0 Z M 16 0 L 16 -46 L 27 -46 L 27 0 Z",
    ),
    Fill(
        0x55597f,
        "M -18 -65 L 0 -100 L 18 -65 Z M -59 -41 L -47 -66 L -35 -41 Z M 35 -47 L 46 -73 L 57 -47 Z M -32 -51 L -23.5 -74 L -15 -51 Z M 14 -45 L 21.5 -66 L 29 -45 Z",
    ),
    Fill(0x3d3a48, "M -8 6 L -8 -10 Q 0 -20 8 -10 L 8 6 Z"),
    Lamp(
        LAMP,
        "M -3 -46 L -3 -53 Q 0 -57 3 -53 L 3 -46 Z M -49 -26 L -49 -32 Q -47 -35 -45 -32 L -45 -26 Z M 44 -30 L 44 -36 Q 46 -39 48 -36 L 48 -30 Z M -25 -38 L -25 -43 Q -23.5 -46 -22 -43 L -22 -38 Z M 20 -32 L 20 -37 Q 21.5 -40 23 -37 L 23 -32 Z",
    ),
    Fill(0xc0453c, "M -0.5 -98 L 0.5 -98 L 0.5 -110 L 12 -106 L 0.5 -103 L -0.5 -98 Z"),
    Halo(0.0, -40.0, 50.0),
];

pub(super) const BALLOON: &[Part] = &[
    Fill(0x4b3b36, "M -11 -26 L -10 -26 L -6 -10 L -7 -10 Z M 11 -26 L 10 -26 L 6 -10 L 7 -10 Z"),
    Fill(0xd8503f, "M 0 -100 C -44 -100 -48 -58 -12 -25 L 12 -25 C 48 -58 44 -100 0 -100 Z"),
    Fill(0xf4c55c, "M 0 -100 C -34 -100 -38 -58 -8.5 -25 L 8.5 -25 C 38 -58 34 -100 0 -100 Z"),
    Fill(0xd8503f, "M 0 -100 C -22 -100 -25 -58 -5.5 -25 L 5.5 -25 C 25 -58 22 -100 0 -100 Z"),
    Fill(0xf8e3b0, "M 0 -100 C -8 -100 -9 -58 -2 -25 L 2 -25 C 9 -58 8 -100 0 -100 Z"),
    Fill(0x7c5540, "M -8 -11 L 8 -11 L 6.5 0 L -6.5 0 Z"),
];

pub(super) const BIRD: &[Part] = &[Fill(
    0x33303a,
    "M -50 -22 Q -26 -44 0 -8 Q 26 -44 50 -22 Q 24 -30 2 6 L -2 6 Q -24 -30 -50 -22 Z",
)];

/// Reads path data; gives nothing where it is malformed.
pub(super) fn outline(data: &str) -> Option<Path> {
    let mut path = PathBuilder::new();
    let mut tokens = data.split(' ');
    while let Some(command) = tokens.next() {
        let mut number = || tokens.next()?.parse::<f32>().ok();
        match command {
            "M" => path.move_to(number()?, number()?),
            "L" => path.line_to(number()?, number()?),
            "Q" => path.quad_to(number()?, number()?, number()?, number()?),
            "C" => {
                path.cubic_to(number()?, number()?, number()?, number()?, number()?, number()?);
            }
            "Z" => path.close(),
            _ => return None,
        }
    }
    path.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outline_of_every_figure_can_be_read() {
        for figure in [FOX, CAT, LIGHTHOUSE, BOAT, CABIN, CASTLE, BALLOON, BIRD] {
            for part in figure {
                if let Fill(_, data) | Lamp(_, data) = part {
                    assert!(outline(data).is_some(), "{data}");
                }
            }
        }
    }
}
