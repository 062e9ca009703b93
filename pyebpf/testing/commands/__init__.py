"""The commands of bpf(2), by what they are about: functions of the system and a typed attr."""
