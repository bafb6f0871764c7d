"""`voipavatar bench`: how much one machine holds, and what it keeps when all have gone."""
