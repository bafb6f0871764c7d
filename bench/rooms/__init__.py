"""`voipavatar bench`: how many sessions a machine holds, and what they leave behind."""
