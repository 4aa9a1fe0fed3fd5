"""seriatim: every classic sequence model behind one contract."""
