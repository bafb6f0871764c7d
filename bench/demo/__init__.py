"""`voipavatar demo`: the whole path on one machine, watched from outside and measured."""
