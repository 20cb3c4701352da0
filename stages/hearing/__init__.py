"""What ingest does to sound before anybody else hears it, and how it tells a voice from what is none."""
