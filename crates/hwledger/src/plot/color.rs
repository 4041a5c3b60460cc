//! Colours that people who see few of them can tell apart, for light and dark pages.
//!
//! **Source**: Okabe, Ito 2008, "Color Universal Design"; the yellow is darkened on light pages,
//! the blue lightened on dark ones, so that each contrasts with its page.

/// Red, green and blue, a byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Color(pub(crate) u32);

/// What a picture is coloured with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    /// The page.
    pub(crate) page: Color,
    /// Words and marks that matter.
    pub(crate) ink: Color,
    /// Words and marks that explain.
    pub(crate) muted: Color,
    /// Lines to read values by.
    pub(crate) grid: Color,
    /// Data of least weight.
    pub(crate) faint: Color,
    /// Data, told apart.
    pub(crate) data: [Color; 8],
}

pub(crate) const BLUE: usize = 0;
pub(crate) const GREEN: usize = 2;
pub(crate) const VERMILION: usize = 3;

const LIGHT: Theme = Theme {
    page: Color(0x00ff_ffff),
    ink: Color(0x001b_1f24),
    muted: Color(0x0059_636e),
    grid: Color(0x00e1_e4e8),
    faint: Color(0x00c4_cad0),
    data: [
        Color(0x0000_72b2),
        Color(0x00e6_9f00),
        Color(0x0000_9e73),
        Color(0x00d5_5e00),
        Color(0x00cc_79a7),
        Color(0x0056_b4e9),
        Color(0x00a6_9a00),
        Color(0x0080_8890),
    ],
};

const DARK: Theme = Theme {
    page: Color(0x0016_1b22),
    ink: Color(0x00e6_edf3),
    muted: Color(0x00a2_abb5),
    grid: Color(0x0030_3840),
    faint: Color(0x0054_5d68),
    data: [
        Color(0x0036_94d6),
        Color(0x00e6_9f00),
        Color(0x0000_b383),
        Color(0x00ec_6f12),
        Color(0x00d9_8bb7),
        Color(0x0079_c6f2),
        Color(0x00f0_e442),
        Color(0x008b_949e),
    ],
};

impl Theme {
    /// Colours for a light or a dark page.
    pub(crate) const fn of(is_dark: bool) -> Self {
        if is_dark { DARK } else { LIGHT }
    }

    /// The colour of the `index`th of several things; the last stands for all beyond it.
    pub(crate) const fn nth(&self, index: usize) -> Color {
        self.data[if index < self.data.len() { index } else { self.data.len() - 1 }]
    }
}
