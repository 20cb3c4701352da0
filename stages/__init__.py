"""The stages, in the order the audio takes: edge (or mic, then edge), ingest, mel, infer, publish, and the edge again;
metrics listens beside the way. The folders hold what one of them is made of: clients (edge), hearing (ingest), painting
(infer), microphone (mic). speakers, loading and tuning serve several."""
