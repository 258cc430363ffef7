/**
 * Whether a label with this value, undefined where there is none, is what the operator asks for: those that label
 * selectors (meta/v1) and node selectors (core/v1) have in common. Throws for any other.
 */
export function meetsOperator(operator: string, values: readonly string[], value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    default:
      throw new Error(`${JSON.stringify(operator)} is not a valid label selector operator`);
  }
}
