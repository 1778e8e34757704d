"""What synthetic speech is made of: how the lips stand for each sound, voices of espeak-ng, and words to say."""

# open, spread, round, teeth of each sound, by a letter of its IPA name.
VISEMES: dict[str, tuple[float, float, float, float]] = {
    "a": (0.90, 0.15, 0.0, 0.5), "ɑ": (1.00, 0.00, 0.0, 0.4), "ɐ": (0.70, 0.10, 0.0, 0.5), "æ": (0.85, 0.40, 0.0, 0.6),
    "ʌ": (0.65, 0.10, 0.0, 0.4), "ɜ": (0.45, 0.10, 0.2, 0.4), "ə": (0.35, 0.10, 0.0, 0.4), "ɚ": (0.35, 0.00, 0.3, 0.4),
    "ɛ": (0.60, 0.40, 0.0, 0.6), "e": (0.50, 0.50, 0.0, 0.6), "ɪ": (0.35, 0.55, 0.0, 0.7), "i": (0.28, 0.80, 0.0, 0.8),
    "ɔ": (0.75, 0.00, 0.5, 0.2), "o": (0.55, 0.00, 0.7, 0.1), "ɒ": (0.80, 0.00, 0.3, 0.2), "ʊ": (0.30, 0.00, 0.8, 0.1),
    "u": (0.22, 0.00, 1.0, 0.0), "y": (0.20, 0.00, 0.9, 0.1), "ø": (0.35, 0.00, 0.8, 0.1), "œ": (0.50, 0.00, 0.6, 0.2),
    "m": (0.00, 0.10, 0.0, 0.0), "b": (0.00, 0.10, 0.0, 0.0), "p": (0.00, 0.10, 0.0, 0.0), "f": (0.10, 0.20, 0.0, 1.0),
    "v": (0.10, 0.20, 0.0, 1.0), "θ": (0.20, 0.20, 0.0, 0.9), "ð": (0.20, 0.20, 0.0, 0.8), "s": (0.13, 0.50, 0.0, 1.0),
    "z": (0.13, 0.50, 0.0, 1.0), "ʃ": (0.18, 0.00, 0.6, 0.9), "ʒ": (0.18, 0.00, 0.6, 0.9), "t": (0.20, 0.30, 0.0, 0.7),
    "d": (0.20, 0.30, 0.0, 0.6), "n": (0.20, 0.30, 0.0, 0.5), "l": (0.30, 0.20, 0.0, 0.5), "k": (0.28, 0.20, 0.0, 0.4),
    "ɡ": (0.28, 0.20, 0.0, 0.4), "g": (0.28, 0.20, 0.0, 0.4), "ŋ": (0.25, 0.20, 0.0, 0.4), "ɹ": (0.22, 0.00, 0.5, 0.4),
    "r": (0.28, 0.10, 0.2, 0.4), "ɾ": (0.22, 0.20, 0.0, 0.5), "w": (0.10, 0.00, 1.0, 0.0), "j": (0.22, 0.60, 0.0, 0.6),
    "h": (0.40, 0.10, 0.0, 0.4), "x": (0.30, 0.10, 0.0, 0.4),
}  # fmt: skip
UNKNOWN = (0.30, 0.2, 0.1, 0.4)
LIPS_CLOSED = "mbp"
# Phones of pocketsphinx and of flite as IPA.
ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AX": "ə", "AY": "aɪ", "B": "b", "CH": "ʃ", "D": "d",
    "DH": "ð", "EH": "ɛ", "ER": "ɜ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʒ",
    "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s",
    "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
# Words of a GRID sentence by the signs in its file's name, but for the letter, which is itself.
GRID_WORDS: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    dict(
        zip("z123456789", ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], strict=True)
    ),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
LANGUAGES = ("en-us", "en", "en-us", "en-gb-x-rp", "en-gb-scotland", "de", "fr", "es", "it", "nl", "pt", "pl", "sv")
VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 Alex Andrea Annie belinda benjamin caleb david edward "
    "ian iven iven2 john linda Lee marcelo Michael norbert pablo paul pedro quincy rob robert sandro steph steph2 "
    "steph3 victor zac shelby Diogo Gene Hugo Henrique grandma grandpa aunty adam anika boris max"
)
WORDS = (
    "a the and but or if when then now here there we you they he she it my your our who what where why how not no yes "
    "please thank hello again today tomorrow morning evening always never maybe about above father mother brother "
    "baby people water fire paper apple banana pepper bottle number summer family table window garden river mountain "
    "ocean bridge village farm market music picture story letter question answer problem moment minute hour week "
    "month year blue green white red black yellow purple small big happy open close move make put take bring give "
    "show tell ask think know feel hear see watch look walk run jump play work sleep drink eat cook buy sell build "
    "break fix carry place set lay bin by with in at on from into over under between behind soon two three four five "
    "six seven eight nine zero one voice mouth face sound speech vowel thought through five very wave move above "
    "valley shop chair judge measure vision garage church choose juice joy boy toy coin oil out house now loud cow "
    "fly high light time go home boat phone know show away they day rain name same boom room food moon blue true new "
    "few use music beauty father car far heart large pot hot lot bottle law saw ball call bird word world her learn "
    "further thing sing ring long strong think bank uncle yellow young yard wool wood good book look could pull push "
    "bush map cap man mob pub"
)
