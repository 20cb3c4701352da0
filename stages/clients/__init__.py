"""The edge's clients: who may come in (doors), one connection (client), one window and one frame (questions), live
streams (sessions, each a stream), what they are told (answers, observer) and can choose from (catalogue)."""
