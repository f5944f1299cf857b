"""The colors of all figures."""

# CSS variable -> color on light paper. Blue and vermilion stay apart for every common form of color blindness
# (Okabe and Ito, "Color Universal Design", 2008); lines differ in dash as well.
PALETTE = {"ink": "#1c2127", "soft": "#5a6472", "line": "#dfe2e7", "accent": "#0069a6", "second": "#c44f00"}
