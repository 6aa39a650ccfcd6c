"""The Clean Recognizable Visual Features Option of PS3.15 E.3.2: faces cut from volumes of the head."""
