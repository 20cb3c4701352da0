"""A speaker from a video of somebody who talks: `python -m models.train from-video VIDEO --name NAME`.

errors.py     what can be wrong with a video, as one exception
read.py       the video's pictures at 25 a second, and its sound
tflite.py     the face landmark networks, out of a wheel, under LiteRT
landmarks.py  478 points of the face in every frame
track.py      the same over a whole video, resumable; what is no face, or two, is said
steady.py     where the head is in each frame, and with it the mouth's crop
measure.py    the articulation, as the landmarks show it
ears.py       the articulation, as the shipped articulator hears it
align.py      both made one: what the painter learns from
choose.py     which frames it learns from
loop.py       the quiet stretch that becomes the idle loop
pack.py       the speaker's folder
show.py       the frames a client gets
seen.py       the lips of a painted face, judged by what is seen of them
stages.py     all of it in order, each stage's products in files of a work folder
command.py    the command line
actor.py      a video whose lips are known, to try all this on

docs/from-video.md is for who uses it.
"""
