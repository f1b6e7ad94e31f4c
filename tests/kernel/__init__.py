"""Tests of the program on crafted frames, without a network; root and BCC are needed."""
