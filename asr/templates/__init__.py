"""The page of `asr.report`: its markup, styles and scripts."""
