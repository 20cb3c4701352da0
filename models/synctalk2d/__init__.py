"""Speakers that people trained with SyncTalk_2D, and how they become speakers of this project."""
