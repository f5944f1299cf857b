"""A torch network becomes an integer network, and how well both agree is measured.

The order of the work: ``lower`` follows the data flow of the model once; ``entries`` puts its inputs on grids;
``modules`` turns a module into nodes (``layers``, ``arrangements``) or into scales and offsets of a wire (``wires``);
``fit_neuron`` chooses the integers of a neuron from the law of its module; ``builder`` collects the nodes. Then
``agreement`` compares spikes and answers.
"""
