"""A bidirectional LSTM that labels each word of a sentence; probabilities are calibrated."""

import seriatim as st

SENTENCES = [
    (["the", "cat", "sat"], ["DET", "NOUN", "VERB"]),
    (["a", "dog", "barked"], ["DET", "NOUN", "VERB"]),
    (["dogs", "sat"], ["NOUN", "VERB"]),
    (["the", "old", "dog", "sat"], ["DET", "ADJ", "NOUN", "VERB"]),
] * 20

encoder = st.EncoderConfig(encoder="lstm", encoder_layers=1, model_size=32)
labeller = st.Labeller(encoder)
options = labeller.training_options({"steps": 150, "learning_rate": 0.01})
labeller.fit(SENTENCES, valid=SENTENCES, options=options)
(elements,) = labeller.label([["the", "old", "cat", "barked"]])
print([(element.label, round(element.probability, 3)) for element in elements])
