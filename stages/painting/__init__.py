"""What infer does with a speaker: one that is quick enough (faces), one that is painted beside the others (beside)."""
