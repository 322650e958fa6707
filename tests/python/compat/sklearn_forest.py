"""scikit-learn: a search over forests in parallel finds what it finds serially."""

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
import joblib


def search(jobs):
    x, y = make_classification(200, random_state=0)
    forest = RandomForestClassifier(n_estimators=5, random_state=0)
    return GridSearchCV(forest, {'max_depth': [2, 4]}, cv=3, n_jobs=jobs).fit(x, y).best_score_


def main():
    serial = search(1)
    for backend in 'loky', 'multiprocessing':
        with joblib.parallel_config(backend):
            assert search(2) == serial, backend


if __name__ == '__main__':
    main()
