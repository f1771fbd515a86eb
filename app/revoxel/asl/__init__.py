"""ASL perfusion: control/label pairs in, cerebral blood flow and arterial transit time out.

Names are those of the OSIPI ASL lexicon (Suzuki et al., Magn Reson Med 2024;91:1743): CBF, ATT, PLD, LD.
"""
